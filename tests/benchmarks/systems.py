"""Systems of pretraining side by side: `python tests/benchmarks/systems.py [SYSTEM…]`.

Draws a known world of ``--videos`` to learn from (``--signal``: how much its words say of its pictures), or with ``--kitchen``
makes the drawn kitchen of 12 × 12 at the level of tokens (`token_kitchen.py`), imports its corpus, and trains each system (all where none is named) from random weights, a small network, ``--seeds`` times, reading ``--tokens``.
Prints the table, with chance, counts and the limit; ``--keep FOLDER`` keeps corpus, store and the page. A comparison that was
stopped goes on there.
"""

import argparse
import contextlib
import dataclasses
import tempfile
from pathlib import Path

import known_world
import token_kitchen

from flows.compare import named
from flows.settings import Settings
from multimodal.catalogue import Catalogue
from multimodal.comparison.budget import Budget
from multimodal.comparison.page import write_page
from multimodal.comparison.runs import compare
from multimodal.comparison.table import lines
from multimodal.known_world.corpus import WORLD, write_corpus
from multimodal.known_world.process import WorldOptions, make_world
from multimodal.library import usable
from multimodal.store import Store
from multimodal.training.options import NOTHING


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("systems", nargs="*")
    parser.add_argument("--videos", type=int, default=300)
    parser.add_argument("--signal", type=float, default=1.0)
    parser.add_argument("--kitchen", action="store_true")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=2_000_000)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    settings = Settings(size="small", text_start=NOTHING)
    candidates = [
        known_world.narrow(
            dataclasses.replace(settings, system=name), settings.training, given.layers, given.hidden
        )
        for name in named(given.systems)
    ]
    with contextlib.ExitStack() as stack:
        folder = given.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        corpus, store = folder / "corpus", Store(folder / "store")
        catalogue = stack.enter_context(Catalogue(store.catalogue))
        if given.kitchen:
            codebook = token_kitchen.ingest_kitchen(corpus, store, catalogue)
            judged_by = {"truth_file": corpus / token_kitchen.TRUTH}
        else:
            if not corpus.exists():
                world = make_world(WorldOptions(signal=given.signal))
                write_corpus(world, given.videos + known_world.HELD_OUT, corpus)
            codebook = known_world.ingest(corpus, store, catalogue)
            judged_by = {"world_file": corpus / WORLD}
        runs = compare(
            store, usable(catalogue), codebook, candidates, range(given.seeds), Budget(given.tokens),
            "cpu", lambda done, of, words: print(f"{done:.2f} of {of}  {words}", end="\r", flush=True),
            **judged_by,
        )  # fmt: skip
        write_page(store.comparison_page, runs, f"reading {given.tokens:,} tokens")
    print("\n" + "\n".join(lines(runs)))


if __name__ == "__main__":
    main()
