"""A library of thousands of videos: what a search, `doctor` and an index with nothing to do cost, in CPU seconds and memory.

    python tests/benchmarks/large_library.py [--videos 3000] [--moments 6] [--folder FOLDER] [search | doctor | index | add]

The files are made here: transcripts, features and tokens of random content, an index whose vectors (384 numbers, as MiniLM's)
are drawn at random, and its cache. What they hold does not change what reading them costs. Each part is measured in a process
of its own, which prints its CPU seconds, its seconds and the most memory that it held. ``--folder`` keeps the library.
"""

import argparse
import contextlib
import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "tests/multimodal/helpers"))

MAKE, PARTS = "make", ("search", "doctor", "index", "add")
CLIPS, WIDTH, SAID = (
    24,
    16,
    "peel chop wash pour stir bake the carrot onion egg potato in a bowl with salt".split(),
)
SHAPE = {"hidden_size": 384, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}


def quiet(*_: object) -> None:
    pass


def put(path: Path, data: bytes) -> None:
    """An artefact with its sum, not synced: a library that was made long ago."""
    from multimodal.sums import sum_file, sum_line

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    sum_file(path).write_bytes(sum_line(hashlib.sha256(data).hexdigest(), path))


def make(folder: Path, count: int, moments: int) -> None:
    """The library: every video speaks ``moments`` sentences, with clips beside them."""
    import pyarrow.parquet as pq
    import safetensors.numpy

    from multimodal.answers.cache import update_cache
    from multimodal.answers.index import index
    from multimodal.catalogue import Catalogue, Video
    from multimodal.inference.trained import load_trained
    from multimodal.joint.model import JointBert
    from multimodal.joint.options import ModelOptions
    from multimodal.library import tokens_table
    from multimodal.objectives.pretraining import PretrainingObjective
    from multimodal.store import Store
    from multimodal.tokens import TokenOptions, fit_codebook
    from multimodal.training import checkpoints
    from multimodal.training.checkpoints import Progress
    from multimodal.vocabulary import SPECIALS, Vocabulary

    random, store = np.random.default_rng(0), Store(folder)
    with store.writing(), Catalogue(store.catalogue) as catalogue:
        starts, videos = np.arange(CLIPS) * 1.5, []
        for n in range(count):
            digest = hashlib.sha256(n.to_bytes(8)).hexdigest()
            values = random.normal(size=(CLIPS, WIDTH)).astype(np.float16)
            put(store.features(digest, "f"), safetensors.numpy.save({"values": values, "starts": starts}))
            length = CLIPS * 1.5 / moments
            sentences = [
                {"start": i * length, "end": (i + 1) * length, "text": " ".join(random.choice(SAID, 8)), "words": []}
                for i in range(moments)
            ]  # fmt: skip
            words = {"language": "en", "source": {"kind": "benchmark"}, "sentences": sentences}
            put(store.transcript(digest, "t"), json.dumps(words).encode())
            videos.append(
                Video(digest, f"video{n:06}.mp4", "", 1, "done", "", CLIPS * 1.5, CLIPS, moments, "t", "f")
            )
        catalogue.record([], videos)
        codebook = fit_codebook(store, videos[:50], [], TokenOptions(k=12, depth=2), quiet)
        catalogue.set_current("codebook", codebook)
        for video in videos:
            buffer = io.BytesIO()
            pq.write_table(tokens_table(starts, random.integers(144, size=CLIPS).astype(np.int32)), buffer)
            put(store.tokens(codebook, video.video), buffer.getvalue())
        vocabulary = Vocabulary((*SPECIALS, *SAID), 144)
        model = JointBert(ModelOptions(vocab_size=vocabulary.size, **SHAPE)).init_weights(0)
        objective = PretrainingObjective(model, vocabulary)
        card = {"codebook": codebook, "options": {}}
        checkpoints.save(store.model("m"), objective, objective.state_dict(), {}, Progress(1, 1, 0, 0), card)
        catalogue.set_together({"model": "m", "model_codebook": codebook})
        trained = load_trained(store, "m", codebook, "cpu")

        def drawn(rows: int) -> np.ndarray:
            x = random.standard_normal((rows, SHAPE["hidden_size"]), dtype=np.float32)
            return x / np.linalg.norm(x, axis=1, keepdims=True)

        with (
            mock.patch("multimodal.inference.embedding.embed_texts", lambda _, texts: drawn(len(texts))),
            mock.patch("multimodal.inference.embedding.embed_videos", lambda _, tokens: drawn(len(tokens))),
            mock.patch("multimodal.answers.index.write_artefact", put),
        ):
            index(store, trained, videos, quiet)
            update_cache(store, trained, videos, quiet)


def part(name: str, folder: Path, videos: int, moments: int) -> None:
    """One part, measured."""
    if name == MAKE:
        make(folder, videos, moments)
        return
    from flows import progress
    from multimodal.catalogue import Catalogue
    from multimodal.store import Store

    if name == "search":
        sys.argv = ["videobert", "search", "peel the carrot", "--store", str(folder), "--top", "3"]
        from flows.cli import main

        with contextlib.suppress(SystemExit):
            main()
        return
    store = Store(folder)
    if name == "doctor":
        from multimodal.integrity import examine, unused

        with store.unwritten(), Catalogue(store.catalogue, read_only=True) as catalogue:
            catalogue.check()
            checked, faults = examine(store, catalogue, quiet)
            unused(store, catalogue)
        assert not faults, faults[:3]
        print(f"{checked} parts checked")
        return
    from flows.index import index_moments
    from flows.opened_run import open_run
    from flows.settings import Settings

    progress.say = quiet
    with open_run(Settings(store=folder)) as run:
        if name == "add":
            one = run.videos[0]
            # One video more: what it holds is that of another, under a name of its own.
            new = hashlib.sha256(os.urandom(8)).hexdigest()
            for path in (store.features(new, "f"), store.transcript(new, "t")):
                put(path, path.with_name(path.name.replace(new, one.video)).read_bytes())
            import dataclasses

            run.catalogue.put(dataclasses.replace(one, video=new, name="new.mp4"))
        index_moments.fn(run)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", default=list(PARTS))
    parser.add_argument("--videos", type=int, default=3000)
    parser.add_argument("--moments", type=int, default=6)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside:
        part(given.parts[0], given.folder, given.videos, given.moments)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary) / "store"
        # In a process of its own, too: what this one had held would count for the parts (getrusage, over fork and exec).
        for name in (*(() if folder.exists() else (MAKE,)), *given.parts):
            began = time.monotonic()
            sizes = ("--videos", str(given.videos), "--moments", str(given.moments))
            child = subprocess.Popen(
                [sys.executable, __file__, name, "--inside", "--folder", str(folder), *sizes],
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )
            _, status, used = os.wait4(child.pid, 0)
            assert status == 0, name
            print(
                f"{name}: {used.ru_utime + used.ru_stime:.1f} CPU s, {time.monotonic() - began:.1f} s, "
                f"{used.ru_maxrss / 1024:.0f} MiB at most",
                flush=True,
            )


if __name__ == "__main__":
    main()
