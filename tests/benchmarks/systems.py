"""Systems of pretraining side by side: `python tests/benchmarks/systems.py [SYSTEM…]`.

Draws a known world of ``--videos`` to learn from (``--signal``: how much its words say of its pictures), or with ``--kitchen``
makes the drawn kitchen of 12 × 12 at the level of tokens (`token_kitchen.py`), imports its corpus, and trains each system (all where none is named) from random weights, a small network, ``--seeds`` times, reading ``--tokens``.
Prints the table, with chance, counts and the limit; ``--keep FOLDER`` keeps corpus, store, models and the page. A comparison that was
stopped goes on there, and `written_captions.py`, `summaries.py` and `continuations.py` ask its models.
"""

import argparse
import contextlib
import dataclasses
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import known_world
import token_kitchen

from flows.compare import named
from flows.settings import Settings
from multimodal.catalogue import Catalogue, Video
from multimodal.comparison.budget import Budget, token_cost
from multimodal.comparison.page import write_page
from multimodal.comparison.runs import compare, run_options
from multimodal.comparison.table import lines
from multimodal.inference.trained import Trained, load_trained
from multimodal.known_world.corpus import WORLD, write_corpus
from multimodal.known_world.process import WorldOptions, make_world
from multimodal.library import usable
from multimodal.store import Store
from multimodal.tokens import train_and_held_out
from multimodal.training.options import NOTHING, PretrainOptions
from multimodal.training.pretraining import pretrain, suited


class Everything:
    """A container of all names."""

    def __contains__(self, _name: object) -> bool:
        return True


@contextlib.contextmanager
def kept(folder: Path | None) -> Iterator[tuple[Path, Store, Catalogue]]:
    """The folder of ``--keep``, or one that goes, with its store and the store's catalogue."""
    with contextlib.ExitStack() as stack:
        folder = folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        store = Store(folder / "store")
        yield folder, store, stack.enter_context(Catalogue(store.catalogue))


def world_corpus(folder: Path, store: Store, catalogue: Catalogue, videos: int, signal: float = 1.0) -> str:
    """Draws a known world of ``videos`` to learn from, where the folder has none, and imports it; its codebook."""
    corpus = folder / "corpus"
    if not corpus.exists():
        write_corpus(make_world(WorldOptions(signal=signal)), videos + known_world.HELD_OUT, corpus)
    return known_world.ingest(corpus, store, catalogue)


def candidate(name: str, layers: int = 4, hidden: int = 128) -> PretrainOptions:
    """The options of a system with a small network of random weights."""
    settings = Settings(size="small", text_start=NOTHING)
    return known_world.narrow(dataclasses.replace(settings, system=name), settings.training, layers, hidden)


def trained_model(
    store: Store, videos: Sequence[Video], codebook: str, options: PretrainOptions, tokens: int, seed: int = 0
) -> Trained:
    """The model of a run of :func:`compare` that reads so many tokens; trained where it is not in the store."""
    options, _ = suited(store, train_and_held_out(store, videos, codebook)[0], options)
    steps = Budget(tokens).steps(token_cost(store, videos, codebook, options))
    name, _ = pretrain(store, videos, codebook, run_options(options, seed, steps), "cpu", known_world.quiet)
    return load_trained(store, name, codebook, "cpu")


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
    candidates = [candidate(name, given.layers, given.hidden) for name in named(given.systems)]
    with kept(given.keep) as (folder, store, catalogue):
        corpus = folder / "corpus"
        if given.kitchen:
            codebook = token_kitchen.ingest_kitchen(corpus, store, catalogue)
            judged_by = {"truth_file": corpus / token_kitchen.TRUTH}
        else:
            codebook = world_corpus(folder, store, catalogue, given.videos, given.signal)
            judged_by = {"world_file": corpus / WORLD}
        runs = compare(
            store, usable(catalogue), codebook, candidates, range(given.seeds), Budget(given.tokens),
            "cpu", lambda done, of, words: print(f"{done:.2f} of {of}  {words}", end="\r", flush=True),
            keep=Everything(), **judged_by,
        )  # fmt: skip
        write_page(store.comparison_page, runs, f"reading {given.tokens:,} tokens")
    print("\n" + "\n".join(lines(runs)))


if __name__ == "__main__":
    main()
