"""Captioning quality and cost beside two baselines, and the accuracy of rollouts and of imagined clips.

    python tests/benchmarks/captions.py [STORE] [TRUTH] [layers=3 …]

STORE holds a model and held-out videos whose content TRUTH tells (`make demo` leaves one). The options are those of
CaptionerOptions. A caption is right where it names the action and the thing that are shown.
"""

from __future__ import annotations

import ast
import dataclasses
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from pycocoevalcap.cider.cider import Cider

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
from multimodal.joint.caption_decoder import CaptionDecoder
from multimodal.library import Material, read_material, usable
from multimodal.scoring.truth import Truth, read_truth
from multimodal.segments import HORIZONS
from multimodal.store import Store
from multimodal.tokens import train_and_held_out
from multimodal.vocabulary import TEMPLATE


def names(text: str, action: str, thing: str) -> tuple[bool, bool]:
    """Whether a caption names the action, and the thing."""
    words = re.findall(r"\w+", text.lower())
    return action in words, thing in words


def trained_captioner(
    store: Store, trained: Trained, train_videos: list[Material], options: CaptionerOptions
) -> TrainedCaptioner:
    began = time.process_time()
    corpus, _ = gather(store, trained, train_videos, options)
    with tempfile.TemporaryDirectory() as folder:
        last = train_captioner(
            Path(folder) / "c", trained, corpus, options, options.training, {}, lambda *_: None
        )
        network = CaptionDecoder.load(last, trained.model)
    sentences = len(corpus.views)
    steps = options.training.steps(sentences)
    print(f"captioner: {sentences} sentences, {steps} steps, {time.process_time() - began:.1f} CPU s")
    return TrainedCaptioner("benchmark", network, options, 0)


def captions(
    store: Store,
    trained: Trained,
    truth: Truth,
    train_videos: list[Material],
    held_out: list[Material],
    options: CaptionerOptions,
) -> None:
    """Captions of the spoken segments of held-out videos: by the captioner, the template, and the nearest neighbour."""
    captioner = trained_captioner(store, trained, train_videos, options)
    train_segments = [s for m in train_videos for s in m.spoken()]
    known = {s.text.lower() for s in train_segments}
    steps, routes = [], {"captioner": [], "template": [], "nearest neighbour": [], "what was spoken": []}
    for m in held_out:
        segments = [s for s in m.spoken() if s.text and s.tokens and truth.at(m.video.video, s.start, s.end)]
        tokens = [s.tokens for s in segments]
        steps += [truth.at(m.video.video, s.start, s.end) for s in segments]
        inputs = caption_inputs(store, m, segments, options, during=False)
        routes["captioner"] += [text for text, _ in generate(trained, captioner, inputs)]
        routes["template"] += [fill_blanks(trained, TEMPLATE, t)[0] for t in tokens]
        routes["nearest neighbour"] += [text for text, _ in nearest_captions(trained, train_segments, tokens)]
        routes["what was spoken"] += [s.text for s in segments]
    for route, texts in routes.items():
        right = [names(t, step.action, step.thing) for t, step in zip(texts, steps, strict=True)]
        counts = (sum(a for a, _ in right), sum(t for _, t in right), sum(a and t for a, t in right))
        new = sum(t.lower() not in known for t in texts) / len(texts)
        shares = ", ".join(f"{count / len(texts):.3f}" for count in counts)
        similar = cider(texts, routes["what was spoken"])
        print(
            f"{route:<18} n {len(texts)}  action, thing, both: {shares}  not a training sentence {new:.2f}  CIDEr {similar:.3f}"
        )


def cider(texts: list[str], references: list[str]) -> float:
    """CIDEr by pycocoevalcap of lower-case words, a reference each."""
    plain = [[" ".join(re.findall(r"[a-z']+", t.lower()))] for t in (*texts, *references)]
    captions, spoken = plain[: len(texts)], plain[len(texts) :]
    return float(Cider().compute_score(dict(enumerate(spoken)), dict(enumerate(captions)))[0])


def rollouts(trained: Trained, held_out: list[Material]) -> None:
    """Accuracy of the likeliest token at each horizon: all masked and predicted at once, or rolled out clip by clip."""
    longest = max(HORIZONS)
    contexts: list[list[int]] = []
    targets: list[list[int]] = []
    for m in held_out:
        for i in range(1, len(m.tokens) - longest + 1):
            contexts.append(m.tokens[:i].tolist())
            targets.append(m.tokens[i : i + longest].tolist())
    at_once = forecast_probabilities(trained, contexts, longest).argmax(-1).tolist()
    extended = [list(context) for context in contexts]
    for _ in range(longest):
        tokens = forecast_probabilities(trained, extended, 1)[:, 0].argmax(-1).tolist()
        for context, token in zip(extended, tokens, strict=True):
            context.append(token)
    rolled_out = [context[-longest:] for context in extended]
    for name, predicted in (("at once", at_once), ("rolled out", rolled_out)):
        pairs = list(zip(predicted, targets, strict=True))
        right = [sum(p[h - 1] == t[h - 1] for p, t in pairs) / len(pairs) for h in HORIZONS]
        shares = ", ".join(f"{share:.3f}" for share in right)
        print(f"next {name:<11} n {len(pairs)}  at 1.5, 3, 6, 12 s: {shares}")


def imagined(store: Store, trained: Trained, truth: Truth) -> None:
    """How often the clip nearest to an imagined token shows the action and the thing of the text."""

    def right(sentence: Callable[[str, str], str], clips: int) -> list[bool]:
        found = []
        for action in truth.actions:
            for thing in truth.things:
                for clip in imagine(store, trained, sentence(action, thing), clips):
                    step = truth.at(clip.video, clip.start, clip.end)
                    if step:
                        found.append((step.action, step.thing) == (action, thing))
        return found

    for form in ("{} the {}", "Now {} the {} just like this."):
        for clips in (1, 2, 3, 4):
            found = right(form.format, clips)
            share = sum(found) / len(found)
            print(f"imagine {form!r}, {clips} clips: the nearest clip shows it {share:.3f} (n {len(found)})")


def main(store: str = "demo-store", truth: str = "tests/samples/truth.json", *options: str) -> None:
    if not Path(store).is_dir():
        print(f"{store}: there is none; run `make demo`, or name another store")
        return
    given = {k: ast.literal_eval(v) for k, v in (o.split("=", 1) for o in options)}
    opened, shown = Store(Path(store), create=False), read_truth(Path(truth))
    with Catalogue(opened.catalogue) as catalogue:
        trained, videos = session.open_trained(opened, catalogue, "cpu"), usable(catalogue)
    parts = [
        [read_material(opened, trained.codebook, v) for v in part]
        for part in train_and_held_out(opened, videos, trained.codebook)
    ]
    captions(opened, trained, shown, *parts, dataclasses.replace(CaptionerOptions(), **given))
    if not given:
        rollouts(trained, parts[1])
        imagined(opened, trained, shown)


if __name__ == "__main__":
    main(*sys.argv[1:])
