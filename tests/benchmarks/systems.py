"""Systems of pretraining in the known world, side by side: `python tests/benchmarks/systems.py [SYSTEM…]`.

Draws a world of ``--videos`` to learn from (``--signal``: how much its words say of its pictures), imports its corpus, and
trains each system (all where none is named) from random weights, a small network, ``--seeds`` times, reading ``--tokens``.
Prints the table, with chance, counts and the limit; ``--keep FOLDER`` keeps corpus, store and the page. A comparison that was
stopped goes on there.
"""

import argparse
import contextlib
import tempfile
from pathlib import Path

import known_world

from flows.compare import named
from flows.settings import Settings
from multimodal.catalogue import Catalogue
from multimodal.comparison.budget import Budget
from multimodal.comparison.page import write_page
from multimodal.comparison.runs import compare
from multimodal.comparison.table import lines
from multimodal.joint.options import Shape
from multimodal.known_world.corpus import WORLD, write_corpus
from multimodal.known_world.process import WorldOptions, make_world
from multimodal.library import usable
from multimodal.store import Store
from multimodal.systems import SYSTEMS
from multimodal.training.options import NOTHING, PretrainOptions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("systems", nargs="*")
    parser.add_argument("--videos", type=int, default=300)
    parser.add_argument("--signal", type=float, default=1.0)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=2_000_000)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    settings = Settings(size="small")
    shape = Shape(given.layers, given.hidden, given.hidden // 32)
    candidates = [
        PretrainOptions(
            NOTHING, shape=shape, examples=settings.examples, training=settings.training, system=SYSTEMS[name]
        )
        for name in named(given.systems)
    ]
    with contextlib.ExitStack() as stack:
        folder = given.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if not (folder / "corpus").exists():
            world = make_world(WorldOptions(signal=given.signal))
            write_corpus(world, given.videos + known_world.HELD_OUT, folder / "corpus")
        store = Store(folder / "store")
        catalogue = stack.enter_context(Catalogue(store.catalogue))
        codebook = known_world.ingest(folder / "corpus", store, catalogue)
        runs = compare(
            store, usable(catalogue), codebook, candidates, range(given.seeds), Budget(given.tokens),
            "cpu", lambda done, of, words: print(f"{done:.2f} of {of}  {words}", end="\r", flush=True),
            world_file=folder / "corpus" / WORLD,
        )  # fmt: skip
        write_page(store.comparison_page, runs, f"reading {given.tokens:,} tokens")
    print("\n" + "\n".join(lines(runs)))


if __name__ == "__main__":
    main()
