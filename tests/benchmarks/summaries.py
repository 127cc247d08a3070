"""Summaries of held-out videos of the drawn kitchen against their recipes: `python tests/benchmarks/summaries.py [SYSTEM…]`.

The kitchen is that of `token_kitchen.py`: 12 × 12, 344 videos, visual tokens drawn in place of pictures. Each of the systems with a
decoder (bart and t5 where none is named) is trained from random weights, 4 layers × 128, reading ``--tokens``; ``--captioner``: a
captioner over videobert, too; ``--keep FOLDER``: that of `systems.py --kitchen`, whose models are asked. A recipe's reference is "ACTION the THING." for each of its six steps. ROUGE-L against all of it, F with
beta 1.2; *covered*: the share of its steps whose action and thing are named together in a sentence; *order*: of the pairs of covered steps
those that are named in the recipe's order. Intervals: 1,000 resamplings of videos.
"""

import argparse
import re
import time
from itertools import combinations
from pathlib import Path

import numpy as np
import systems
import token_kitchen

from multimodal.answers.caption import captioned
from multimodal.answers.summary import SummarySentence, by_decoder, most_central
from multimodal.captioning.options import CaptionerOptions
from multimodal.captioning.trained import load_captioner
from multimodal.captioning.training import learn_captioner
from multimodal.inference.trained import Trained
from multimodal.library import Material, read_material, usable
from multimodal.scoring.caption_metrics import rouge_l
from multimodal.scoring.truth import Truth, read_truth
from multimodal.tokens import train_and_held_out

SENTENCES = (3, 6)


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def judged(found: list[SummarySentence], steps: list[tuple[str, str]]) -> tuple[float, float, float]:
    """ROUGE-L, covered, order (NaN where fewer than two steps are covered)."""
    recipe = words(" ".join(f"{action} the {thing}." for action, thing in steps))
    said = [set(words(s.text)) for s in found]
    places = [next((n for n, own in enumerate(said) if set(step) <= own), None) for step in steps]
    there = [place for place in places if place is not None]
    pairs = list(combinations(there, 2))
    order = np.mean([a < b for a, b in pairs]) if pairs else np.nan
    return rouge_l(words(" ".join(s.text for s in found)), [recipe]), len(there) / len(steps), float(order)


def line(name: str, rows: list[tuple[float, float, float]]) -> str:
    table, random = np.array(rows), np.random.default_rng(0)
    samples = [np.nanmean(table[random.integers(len(table), size=len(table))], 0) for _ in range(1000)]
    low, high = np.nanpercentile(samples, (2.5, 97.5), 0)
    value = np.nanmean(table, 0)
    return f"{name:<28}" + "".join(
        f"  {v:.3f} ({a:.3f} – {b:.3f})" for v, a, b in zip(value, low, high, strict=True)
    )


def steps_of(truth: Truth, material: Material) -> list[tuple[str, str]]:
    found = (truth.at(material.video.video, s.start, s.end) for s in material.spoken())
    return [(step.action, step.thing) for step in found if step]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("systems", nargs="*")
    parser.add_argument("--tokens", type=int, default=300_000)
    parser.add_argument("--captioner", action="store_true")
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    with systems.kept(given.keep) as (folder, store, catalogue):
        codebook = token_kitchen.ingest_kitchen(folder / "corpus", store, catalogue)
        videos = usable(catalogue)
        truth = read_truth(folder / "corpus" / token_kitchen.TRUTH)
        _, held_out = train_and_held_out(store, videos, codebook)
        materials = [read_material(store, codebook, video) for video in held_out]
        print(f"{len(materials)} held-out videos; ROUGE-L, steps covered, order, with 95 % intervals")

        def show(name: str, summarise) -> None:  # noqa: ANN001
            for count in SENTENCES:
                began = time.process_time()
                rows = [judged(summarise(m, count), steps_of(truth, m)) for m in materials]
                seconds = (time.process_time() - began) / len(materials)
                print(f"{line(f'{name}, {count} sentences', rows)}  {seconds:.2f} CPU s a video", flush=True)

        show("said, most central", lambda m, n: most_central(said(m), n))
        show("said, the first", lambda m, n: said(m)[:n])

        def train(name: str) -> Trained:
            return systems.trained_model(store, videos, codebook, systems.candidate(name), given.tokens)

        for name in given.systems or ("bart", "t5"):
            trained = train(name)
            show(name, lambda m, n, trained=trained: by_decoder(trained, m.moments(), n))
        if given.captioner:
            trained = train("videobert")
            learned = learn_captioner(store, trained, videos, CaptionerOptions(), token_kitchen.quiet)
            captioner = load_captioner(store, trained, learned)
            show(
                "videobert and its captioner",
                lambda m, n: most_central(captions(store, trained, captioner, m), n),
            )


def said(material: Material) -> list[SummarySentence]:
    return [SummarySentence(s.text, s.start, s.end) for s in material.transcript.sentences]


def captions(store, trained, captioner, material) -> list[SummarySentence]:  # noqa: ANN001
    return [SummarySentence(c.text, c.start, c.end) for c in captioned(store, trained, captioner, material)]


if __name__ == "__main__":
    main()
