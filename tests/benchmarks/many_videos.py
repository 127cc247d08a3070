"""A library of 1,000 imported videos, 300 of them held out: the seconds of each stage, and what bounds an evaluation.

`python tests/benchmarks/many_videos.py [--videos 1000] [--share 0.3] [--steps 40] [--clips 60] [--folder FOLDER]`. The
model has the default size, from its published start. Each video shows a verb and a noun every 6 s, its features are
those of the two with noise, and its captions name them. Printed are the seconds of each stage, the share of the
training that its held-out losses take, and the seconds, value, interval and number of questions of the figures.
"""

import argparse
import dataclasses
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from flows.sizes import SIZES
from multimodal.answers.cache import update_cache
from multimodal.answers.index import index
from multimodal.answers.session import open_captioner, open_trained
from multimodal.captioning.options import CaptionerOptions
from multimodal.captioning.training import learn_captioner
from multimodal.catalogue import Catalogue
from multimodal.intake.imports import find_imports, import_files
from multimodal.intake.options import ImportOptions
from multimodal.library import split, usable
from multimodal.scoring.evaluation import evaluate_store
from multimodal.store import Store
from multimodal.tokens import TokenOptions, encode_videos, fit_codebook
from multimodal.training.options import PretrainOptions
from multimodal.training.pretraining import pretrain
from multimodal.training.train_step import Trainer

VERBS, NOUNS = "peel chop fry stir bake wash pour season".split(), "carrot onion egg potato rice fish".split()
WIDTH, CLIPS_A_STEP, CLIP = 64, 4, 1.5


def write_corpus(folder: Path, videos: int, clips: int) -> None:
    """A .npy a video, and one table of captions."""
    draw = np.random.default_rng(0)
    verbs, nouns = (draw.normal(size=(len(names), WIDTH)) for names in (VERBS, NOUNS))
    lines = ["video,start,end,text"]
    for n in range(videos):
        shown = np.stack([draw.integers(len(VERBS), size=clips), draw.integers(len(NOUNS), size=clips)])
        shown = np.repeat(shown[:, ::CLIPS_A_STEP], CLIPS_A_STEP, 1)[:, :clips]
        noise = 0.5 * draw.normal(size=(clips, WIDTH))
        np.save(folder / f"video{n:05}.npy", (verbs[shown[0]] + nouns[shown[1]] + noise).astype(np.float32))
        for clip in range(0, clips, CLIPS_A_STEP):
            verb, noun = VERBS[shown[0, clip]], NOUNS[shown[1, clip]]
            start, end = clip * CLIP, (clip + CLIPS_A_STEP) * CLIP
            lines.append(f'video{n:05},{start},{end},"Now we {verb} the {noun} in number {clip}."')
    (folder / "captions.csv").write_text("\n".join([*lines, ""]), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=1000)
    parser.add_argument("--share", type=float, default=0.3)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run(given, given.folder or Path(folder))


def run(given: argparse.Namespace, folder: Path) -> None:
    began = time.monotonic()

    def done(stage: str, more: object = "") -> None:
        nonlocal began
        print(f"{stage}: {time.monotonic() - began:.1f} s {more}", flush=True)
        began = time.monotonic()

    def quiet(*_: object) -> None:
        pass

    corpus = folder / "corpus"
    if not corpus.is_dir():
        corpus.mkdir(parents=True)
        write_corpus(corpus, given.videos, given.clips)
    done("writing the corpus")
    store, sized = Store(folder / "store"), SIZES["demo"]
    evaluating, evaluate = [], Trainer.evaluate

    def timed(self: Trainer, *arguments: object) -> dict[str, float]:
        start = time.monotonic()
        found = evaluate(self, *arguments)
        evaluating.append(time.monotonic() - start)
        return found

    Trainer.evaluate = timed
    with store.writing(), Catalogue(store.catalogue) as catalogue:
        files = find_imports([corpus], None)
        imported = import_files(store, catalogue, files, ImportOptions(stride=CLIP), quiet)
        done("import", f"of {len(imported)} videos")
        import_files(store, catalogue, files, ImportOptions(stride=CLIP), quiet)
        done("the same again")
        videos = usable(catalogue)
        train, held_out = split(videos, given.share)
        codebook = fit_codebook(store, train, held_out, TokenOptions(k=12, depth=2), quiet, "cpu")
        catalogue.set_current("codebook", codebook)
        done("codebook", f"of {len(train)} videos, {len(held_out)} held out")
        encode_videos(store, codebook, videos, quiet)
        done("tokens")
        few = {"least_steps": 1, "most_steps": given.steps}
        options = PretrainOptions(
            examples=sized.examples, training=dataclasses.replace(sized.training, **few)
        )
        name, _ = pretrain(store, videos, codebook, options, "cpu", quiet)
        catalogue.set_current("model", name)
        catalogue.set_current("model_codebook", codebook)
        done(
            "pretrain",
            f"{given.steps} steps; held-out losses: {evaluating[:-1]} s along it, {evaluating[-1]:.1f} s at its end",
        )
        trained = open_trained(store, catalogue, "cpu")
        captioner = learn_captioner(store, trained, videos, CaptionerOptions(**few), quiet, [])
        catalogue.set_current("captioner", captioner or "")
        done("captioner", f"{given.steps} steps")
        index(store, trained, videos, quiet)
        done("index")
        update_cache(store, trained, videos, quiet)
        done("what is searched")
        stages: list[tuple[str, float]] = []
        described = open_captioner(store, catalogue, trained)
        path = evaluate_store(
            store, trained, described, videos, lambda *report: stages.append((report[2], time.monotonic()))
        )
        for (stage, start), (_, end) in zip(stages, stages[1:], strict=False):
            print(f"  {stage}: {end - start:.1f} s")
        done("evaluate")
    for name, figure in json.loads(path.read_text()).items():
        if figure["value"] is not None:
            print(
                f"  {name}: {figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}], n = {figure['n']} {figure['note']}"
            )


if __name__ == "__main__":
    main()
