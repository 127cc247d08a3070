"""The evaluation of a store: the videos and references of its model, the captioning methods, and the file of the figures."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from multimodal.answers.caption import by_model
from multimodal.answers.counts import Counts
from multimodal.answers.plain import WordsAndTokens
from multimodal.answers.quality import evaluation_prefix
from multimodal.captioning.generation import describer
from multimodal.captioning.trained import TrainedCaptioner
from multimodal.catalogue import Video
from multimodal.inference.trained import Trained
from multimodal.known_world.corpus import read_world
from multimodal.known_world.inference import BestAnswers
from multimodal.library import Material, read_json, read_material
from multimodal.progress import Report, announce
from multimodal.scoring.caption_tokenizer import METEOR_JAR, PTB_JAR, why_not_java
from multimodal.scoring.intervals import Figure
from multimodal.scoring.layer_probe import VERSION as PROBE_VERSION
from multimodal.scoring.layer_probe import probe_figures
from multimodal.scoring.layers import PROBE
from multimodal.scoring.metrics import NEAREST, CaptionFunction, evaluate, plain_figures
from multimodal.scoring.references import ReferencedMoment, evaluation_moments
from multimodal.scoring.truth import read_truth
from multimodal.segments import Segment
from multimodal.store import Store, canonical_json, file_digest, recipe, write_artefact
from multimodal.tokens import train_and_held_out

VERSION = 9
TEMPLATE = "template"
"""The captions of the model itself: the template's blanks, or what its own decoder writes."""


def evaluate_store(
    store: Store,
    trained: Trained,
    captioner: TrainedCaptioner | None,
    videos: Sequence[Video],
    report: Report,
    *,
    truth_file: Path | None = None,
    references_file: Path | None = None,
    world_file: Path | None = None,
    probe: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Path:
    """The file of the figures; computed once for a model, a captioner, a truth, references and a known world.

    ``probe``: with those of :func:`~multimodal.scoring.layer_probe.probe_figures`. A file that has them is taken where they are
    not asked for too, and one without them is added to.

    ``say`` is told which references are left out, and where no layer can be judged. Raises
    :class:`~multimodal.store.InputError` where the references name no video of the store, or a known world is not the one that
    made it.
    """
    truth = read_truth(truth_file) if truth_file else None
    best = BestAnswers(read_world(world_file)) if world_file else None
    references: list[ReferencedMoment] = []
    if references_file is not None:
        references = evaluation_moments(references_file, store, trained.codebook, videos, say)
    about = {
        "version": VERSION,
        "truth": truth and [truth.actions, truth.things, truth.steps],
        "references": references,
        "captioner": captioner and captioner.name,
        "world": world_file and file_digest(world_file),
        "java": [why_not_java(PTB_JAR), why_not_java(METEOR_JAR)],
    }
    prefix = evaluation_prefix(trained, captioner and captioner.name)
    plain, probed = (
        store.evaluation(prefix + recipe(**about, **more)) for more in ({}, {"probe": PROBE_VERSION})
    )
    path = probed if probe or probed.exists() else plain
    if path.exists():
        _say_unprobed(read_json(path), probe, say)
        return path

    def materials(some: Sequence[Video]) -> list[Material]:
        return [read_material(store, trained.codebook, v) for v in some]

    train, held_out = map(materials, train_and_held_out(store, videos, trained.codebook))
    figures: dict[str, Any] = {}
    if plain.exists():
        figures = read_json(plain)
    elif held_out or references:
        # references may be about videos that came later, which are neither training videos nor held out
        known = {m.video.video for m in held_out}
        later = {a.moment.video for a in references} - known
        captioned = held_out + materials([v for v in videos if v.video in later])
        methods = captioning_methods(store, trained, captioner, train, captioned, bool(references))
        first = next(iter(methods))
        figures = _documents(
            evaluate(
                trained, train, held_out, truth, report,
                references=references, caption=methods.pop(first), other_captions=methods, best=best,
            )
        )  # fmt: skip
    else:
        figures = _documents(
            plain_figures(train, trained.vocabulary.visual, nearest_captions(trained, train))
        )
    if probe:
        announce("asking each layer")
        figures |= _documents(probe_figures(trained, train, held_out, truth))
        _say_unprobed(figures, probe, say)
    write_artefact(path, canonical_json(figures).encode())
    return path


def _say_unprobed(figures: Mapping[str, Any], probe: bool, say: Callable[[str], None]) -> None:
    if probe and not any(name.startswith(PROBE) for name in figures):
        say(
            "--probe: no layer is judged, which takes speech beside clips both in the videos learned from and in those held out"
        )


def _documents(figures: Mapping[str, Figure]) -> dict[str, Any]:
    return {name: dataclasses.asdict(figure) for name, figure in figures.items()}


def captioning_methods(
    store: Store,
    trained: Trained,
    captioner: TrainedCaptioner | None,
    train: Sequence[Material],
    captioned: Sequence[Material],
    with_references: bool,
) -> dict[str, CaptionFunction]:
    """The captioning methods by name, that of `videobert caption` first: the captioner where there is one, the cloze
    template (or what the model's own decoder writes), the words of the nearest training moment.

    A captioner that was tuned on references hears what is said in a moment. It may where references are the targets, and
    not where the target is what is said.
    """
    methods = {
        TEMPLATE: _by_tokens(lambda moments: [text for text, _ in by_model(trained, moments)]),
        NEAREST: nearest_captions(trained, train),
    }
    if captioner is None:
        return methods
    during = with_references and bool(captioner.references)
    return {"captioner": describer(store, trained, captioner, captioned, during=during)} | methods


def nearest_captions(trained: Trained, train: Sequence[Material]) -> CaptionFunction:
    """The method that gives the words of the moment of another video that shows most of the same tokens; "" for none."""
    spoken = [s for m in train for s in m.spoken() if s.text and s.tokens]
    table = WordsAndTokens(Counts.of(train), trained.vocabulary.visual)

    def nearest(moments: Sequence[Segment]) -> list[str]:
        found = [table.alike(m.tokens, m.video) for m in moments]
        return ["" if i is None else spoken[i].text for i in found]

    return nearest


def _by_tokens(describe: Callable[[Sequence[tuple[int, ...]]], Sequence[str]]) -> CaptionFunction:
    """A method that reads the visual tokens of a moment alone; equal tokens are described once."""

    def each(moments: Sequence[Segment]) -> list[str]:
        different = list(dict.fromkeys(m.tokens for m in moments))
        captions = dict(zip(different, describe(different), strict=True))
        return [captions[m.tokens] for m in moments]

    return each
