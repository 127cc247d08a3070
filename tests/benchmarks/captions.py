"""What the captioner costs and says, beside the template and the nearest neighbour's words, and how long rollouts hold.

    python tests/benchmarks/captions.py [STORE] [TRUTH] [layers=3 …]

STORE holds a model and videos held out whose content TRUTH tells (`make demo` leaves one). Options are those of
CaptionerOptions. A sentence is right where it names the action and the thing that are shown.
"""

from __future__ import annotations

import ast
import dataclasses
import re
import sys
import tempfile
import time
from pathlib import Path

from multimodal.answers import session
from multimodal.answers.forecast import forecast_probabilities
from multimodal.answers.imagine import imagine
from multimodal.captioning.dataset import caption_inputs
from multimodal.captioning.generation import generate, nearest_captions
from multimodal.captioning.options import CaptionerOptions
from multimodal.captioning.trained import TrainedCaptioner
from multimodal.captioning.training import gather, train_captioner
from multimodal.catalogue import Catalogue
from multimodal.inference.cloze import fill_blanks
from multimodal.inference.trained import Trained
from multimodal.joint.decoder import Decoder
from multimodal.library import Material, read_material, usable
from multimodal.scoring.truth import Truth, read_truth
from multimodal.segments import HORIZONS
from multimodal.store import Store
from multimodal.tokens import train_and_held_out
from multimodal.vocabulary import TEMPLATE


def named(text: str, words: tuple[str, str]) -> tuple[bool, bool]:
    said = re.findall(r"\w+", text.lower())
    return words[0] in said, words[1] in said


def captions(
    store: Store, trained: Trained, truth: Truth, parts: list[list[Material]], options: CaptionerOptions
) -> None:
    learned, held_out = parts
    began = time.process_time()
    corpus, _ = gather(store, trained, learned, options)
    with tempfile.TemporaryDirectory() as folder:
        last = train_captioner(
            Path(folder) / "c", trained, corpus, options, options.training, {}, lambda *_: None
        )
        decoder = Decoder.load(last, trained.model)
    sentences = len(corpus.views)
    steps = options.training.steps(sentences)
    print(f"captioner: {sentences} sentences, {steps} steps, {time.process_time() - began:.1f} CPU s")
    captioner = TrainedCaptioner("benchmark", decoder, options, 0)
    spoken = [s for m in learned for s in m.spoken()]
    asked, own = [], {"captioner": [], "template": [], "nearest neighbour": []}
    for m in held_out:
        some = [s for s in m.spoken() if s.text and s.tokens and truth.at(m.video.video, s.start, s.end)]
        asked += [(s.text, truth.at(m.video.video, s.start, s.end)) for s in some]
        own["captioner"] += [
            t for t, _ in generate(trained, captioner, caption_inputs(store, m, some, options, during=False))
        ]
        own["template"] += [fill_blanks(trained, TEMPLATE, s.tokens)[0] for s in some]
        own["nearest neighbour"] += [
            t for t, _ in nearest_captions(trained, spoken, [s.tokens for s in some])
        ]
    own["what was spoken"] = [text for text, _ in asked]
    known = {s.text.lower() for s in spoken}
    for route, texts in own.items():
        right = [named(t, (s.action, s.thing)) for t, (_, s) in zip(texts, asked, strict=True)]
        shares = [sum(a for a, _ in right), sum(b for _, b in right), sum(a and b for a, b in right)]
        new = sum(t.lower() not in known for t in texts) / len(texts)
        print(
            f"{route:<18} n {len(texts)}  action, thing, both: "
            + ", ".join(f"{s / len(texts):.3f}" for s in shares)
            + f"  not among the learned sentences {new:.2f}"
        )


def rollouts(trained: Trained, held_out: list[Material]) -> None:
    """The likeliest token at each horizon: all masked and read at once, or rolled out clip by clip."""
    longest = max(HORIZONS)
    asked = [
        (m.tokens[:i].tolist(), m.tokens[i : i + longest].tolist())
        for m in held_out
        for i in range(1, len(m.tokens) - longest + 1)
    ]
    at_once = forecast_probabilities(trained, [c for c, _ in asked], longest).argmax(-1).tolist()
    contexts, rolled = [list(c) for c, _ in asked], [[] for _ in asked]
    for _ in range(longest):
        for i, token in enumerate(forecast_probabilities(trained, contexts, 1)[:, 0].argmax(-1).tolist()):
            contexts[i].append(token)
            rolled[i].append(token)
    for name, found in (("at once", at_once), ("rolled out", rolled)):
        right = [sum(f[h - 1] == t[h - 1] for f, (_, t) in zip(found, asked, strict=True)) for h in HORIZONS]
        print(
            f"next {name:<11} n {len(asked)}  at 1.5, 3, 6, 12 s: "
            + ", ".join(f"{r / len(asked):.3f}" for r in right)
        )


def imagined(store: Store, trained: Trained, truth: Truth) -> None:
    for form in ("{} the {}", "Now {} the {} just like this."):
        for clips in (1, 2, 3, 4):
            right = [
                (s.action, s.thing) == (a, t)
                for a in truth.actions
                for t in truth.things
                for c in imagine(store, trained, form.format(a, t), clips)
                if (s := truth.at(c.video, c.start, c.end))
            ]
            print(
                f"imagine {form!r}, {clips} clips: the nearest clip shows it {sum(right) / len(right):.3f} (n {len(right)})"
            )


def main(store: str = "demo-store", truth: str = "tests/samples/truth.json", *options: str) -> None:
    if not Path(store).is_dir():
        print(f"{store}: there is none; run `make demo`, or name another store")
        return
    given = {k: ast.literal_eval(v) for k, v in (o.split("=", 1) for o in options)}
    opened, told = Store(Path(store), create=False), read_truth(Path(truth))
    with Catalogue(opened.catalogue) as catalogue:
        trained, videos = session.open_trained(opened, catalogue, "cpu"), usable(catalogue)
    parts = [
        [read_material(opened, trained.codebook, v) for v in part]
        for part in train_and_held_out(opened, videos, trained.codebook)
    ]
    captions(opened, trained, told, parts, dataclasses.replace(CaptionerOptions(), **given))
    if not given:
        rollouts(trained, parts[1])
        imagined(opened, trained, told)


if __name__ == "__main__":
    main(*sys.argv[1:])
