"""Examples in context: what they change for a model that reads left to right: `python tests/benchmarks/few_examples.py`.

The drawn kitchen, networks and budget of `systems.py --kitchen`, whose ``--keep FOLDER`` this takes. Two models of ``gpt``: one
learned from segments, as by default, and one from full sequences (``--sequences full``), in which several moments follow one
another. Of the same held-out moments (200 at most) it is asked what is done and with what (the first of 12 verbs and of 12 nouns),
the caption (CIDEr and ROUGE-L against what is said), and the next clip, behind 0, 1, 2 and 4 examples: ``--from other``, moments
of other videos that were learned; ``--from before``, those before it in its own video.
"""

import argparse
import dataclasses
from pathlib import Path

import numpy as np
import systems
import token_kitchen
from written_captions import judged

from multimodal.answers.caption import by_model
from multimodal.answers.classify import classify
from multimodal.answers.forecast import forecast_probabilities
from multimodal.examples.packing import Parts
from multimodal.inference.trained import Trained
from multimodal.library import Material, read_material, usable
from multimodal.scoring.truth import Truth, TruthStep, read_truth
from multimodal.segments import Segment
from multimodal.tokens import train_and_held_out

COUNTS = (0, 1, 2, 4)
MOST = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tokens", type=int, default=300_000)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--from", dest="taken", choices=("other", "before"), default="before")
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    with systems.kept(given.keep) as (folder, store, catalogue):
        codebook = token_kitchen.ingest_kitchen(folder / "corpus", store, catalogue)
        truth, videos = read_truth(folder / "corpus" / token_kitchen.TRUTH), usable(catalogue)
        learned, held_out = (
            [read_material(store, codebook, video) for video in part]
            for part in train_and_held_out(store, videos, codebook)
        )
        # A moment with four before it and a clip behind it, so that every count asks the same.
        spoken = [(m, n) for m in held_out for n in range(max(COUNTS), len(_told(m)))]
        spoken = [(m, n) for m, n in spoken if max(_told(m)[n].clips) + 1 < len(m.tokens)]
        asked = [spoken[i] for i in np.random.default_rng(0).permutation(len(spoken))[:MOST]]
        moments = [_told(m)[n] for m, n in asked]
        names = [truth.at(m.video.video, s.start, s.end) for (m, _), s in zip(asked, moments, strict=True)]
        following = [int(m.tokens[max(s.clips) + 1]) for (m, _), s in zip(asked, moments, strict=True)]
        others = [s for m in learned for s in _told(m)]
        print(f"{len(asked)} moments; examples: {given.taken}")
        print(
            "| learned from | examples | verb | noun | CIDEr | ROUGE-L | next clip |\n|---|---|---|---|---|---|---|"
        )
        for sequences in ("segments", "full"):
            options = systems.candidate("gpt")
            system = dataclasses.replace(options.system, sequences=sequences)
            options = dataclasses.replace(options, system=system)
            models = [
                systems.trained_model(store, videos, codebook, options, given.tokens, seed)
                for seed in range(given.seeds)
            ]
            for count in COUNTS:
                rows = []
                for trained in models:
                    random = np.random.default_rng(1)
                    taken = [
                        _told(m)[n - count : n]
                        if given.taken == "before"
                        else [others[i] for i in random.integers(len(others), size=count)]
                        for m, n in asked
                    ]
                    rows.append(_figures(trained, moments, names, following, taken, truth))
                table = np.array(rows)
                spread = table.std(0, ddof=1) if len(rows) > 1 else [None] * table.shape[1]
                cells = [
                    f"{v:.3f}" + ("" if s is None else f" ± {s:.3f}")
                    for v, s in zip(table.mean(0), spread, strict=True)
                ]
                print(f"| {sequences} | {count} | {' | '.join(cells)} |", flush=True)


def _told(material: Material) -> list[Segment]:
    return [s for s in material.spoken() if s.text and s.tokens]


def _figures(
    trained: Trained,
    moments: list[Segment],
    names: list[TruthStep | None],
    following: list[int],
    taken: list[list[Segment]],
    truth: Truth,
) -> list[float]:
    """The shares of right verbs, nouns and next clips, CIDEr and ROUGE-L of the captions."""
    captions, verbs, nouns, clips = [], [], [], []
    for moment, step, coming, some in zip(moments, names, following, taken, strict=True):
        examples: list[Parts] = [(trained.vocabulary.encode(s.text), s.tokens) for s in some]
        found = classify(trained, [moment.tokens], truth.actions, truth.things, examples)
        best = [
            of_kind[int(log_p[0].argmax())]
            for of_kind, log_p in zip((truth.actions, truth.things), found, strict=True)
        ]
        verbs.append(step is not None and best[0] == step.action)
        nouns.append(step is not None and best[1] == step.thing)
        captions.append(by_model(trained, [moment.tokens], examples=examples)[0][0])
        heard = [trained.vocabulary.encode(moment.text)]
        p = forecast_probabilities(trained, [list(moment.tokens)], 1, heard, examples)
        clips.append(int(p[0, 0].argmax()) == coming)
    scored = judged(moments, captions)
    means = [float(np.mean(values)) for values in (verbs, nouns)]
    return [*means, scored["micro cider"], scored["micro rouge_l"], float(np.mean(clips))]


if __name__ == "__main__":
    main()
