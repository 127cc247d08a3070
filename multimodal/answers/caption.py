"""Captions of a video's moments: by the captioner, by the paper's cloze template, or plainly, by words that were said."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from multimodal.answers.plain import WordsAndTokens
from multimodal.catalogue import Catalogue
from multimodal.inference.cloze import check_fills_blanks, fill_blanks, known_ids, sentence
from multimodal.inference.left_to_right import LIKELIEST, Parts, check_left_to_right, prompt, write
from multimodal.inference.sampling import SamplingOptions
from multimodal.inference.trained import Trained
from multimodal.inference.writing import write_captions
from multimodal.library import Material, read_transcript
from multimodal.segments import Segment
from multimodal.store import InputError, Store
from multimodal.vocabulary import TEMPLATE
from speech.cues import cues_of, write_webvtt

if TYPE_CHECKING:
    from multimodal.captioning.attention import WordAttention
    from multimodal.captioning.trained import TrainedCaptioner


@dataclasses.dataclass(frozen=True)
class CaptionSource:
    """The moment that a caption's words were said in, ``[start, end)`` seconds of a video (digest and name)."""

    video: str
    name: str
    start: float
    end: float


@dataclasses.dataclass(frozen=True)
class Caption:
    """A sentence for ``[start, end)`` seconds of a video; empty where no route has one.

    ``route``: ``captioner``, ``template``, ``written`` (by the model's own decoder), ``heard`` (what is said in the moment itself) or ``nearest_neighbour`` (what is
    said in the learned moment that looks most like it, its ``source``). ``score``: the geometric mean of the probabilities
    of the words in the template's blanks, or of all word pieces that were written; it is no probability that the
    caption is right. ``None`` for words that people said. ``heard``: what is said in the moment, whatever the route.
    """

    start: float
    end: float
    text: str
    score: float | None
    route: str = "template"
    heard: str = ""
    source: CaptionSource | None = None


def caption(
    trained: Trained,
    material: Material,
    *,
    at: float | None = None,
    template: str = TEMPLATE,
    sampling: SamplingOptions | None = None,
    examples: Sequence[Parts] = (),
    begun: str | None = None,
) -> list[Caption]:
    """A caption by the model (:func:`by_model`) for each moment of a video that has clips, or only for the one at second ``at``.

    Raises :class:`InputError` where ``at`` is outside the video, or it has no clip, and for a template, a sampling,
    examples or words ``begun`` that the model has no use for.
    """
    for option, given in (
        ("--temperature, --top-p and --seed", sampling is not None),
        ("--examples", examples),
        ("--prompt", begun is not None),
    ):
        if given:
            check_left_to_right(trained, option)
    if template != TEMPLATE:
        check_fills_blanks(trained, f"--template {template!r}")
    shown = seen_moments(material, at)
    written = trained.left_to_right or (trained.writer is not None and template == TEMPLATE)
    found = by_model(trained, [m.tokens for m in shown], template, sampling or LIKELIEST, examples, begun)
    return [
        Caption(m.start, m.end, text, score, "written" if written else "template", m.text)
        for m, (text, score) in zip(shown, found, strict=True)
    ]


def by_model(
    trained: Trained,
    tokens: Sequence[Sequence[int]],
    template: str = TEMPLATE,
    sampling: SamplingOptions = LIKELIEST,
    examples: Sequence[Parts] = (),
    begun: str | None = None,
) -> list[tuple[str, float]]:
    """A sentence for each run of visual tokens, and its score: where the model reads left to right, written by ``sampling`` behind
    the ``examples`` (words and tokens of other moments), the run and the words ``begun``, which the score leaves out; written
    where it has a decoder and no ``template`` of a person's own; else the template with its blanks filled."""
    if trained.left_to_right:
        said = known_ids(trained, "--prompt", begun) if begun is not None else []
        texts = write(trained, [prompt(trained, run, said, examples) for run in tokens], sampling)
        return [(sentence(trained.vocabulary.decode([*said, *text.ids])), text.score) for text in texts]
    if trained.writer is not None and template == TEMPLATE:
        return [(sentence(text), score) for text, score in write_captions(trained, tokens)]
    return [fill_blanks(trained, template, run) for run in tokens]


def example_of(trained: Trained, material: Material, at: float) -> Parts:
    """The words and the visual tokens of the moment at a second. Raises :class:`InputError` where nobody speaks in it."""
    (moment,) = seen_moments(material, at)
    if not moment.text:
        raise InputError(
            f"--examples {material.video.name}@{at:g}: nobody speaks there; name a moment in which somebody does"
        )
    return trained.vocabulary.encode(moment.text), moment.tokens


def captioned(
    store: Store,
    trained: Trained,
    captioner: TrainedCaptioner,
    material: Material,
    *,
    at: float | None = None,
) -> list[Caption]:
    """The same by the captioner. Raises what :func:`caption` raises, and where the captioner needs features that are missing."""
    from multimodal.captioning.dataset import caption_inputs
    from multimodal.captioning.generation import generate

    shown = seen_moments(material, at)
    inputs = caption_inputs(store, material, shown, captioner.options, during=bool(captioner.references))
    return [
        Caption(m.start, m.end, text, score, "captioner", m.text)
        for m, (text, score) in zip(shown, generate(trained, captioner, inputs), strict=True)
    ]


def looked_at(
    store: Store, trained: Trained, captioner: TrainedCaptioner, material: Material, caption: Caption
) -> WordAttention:
    """How much of the attention of each word of a captioner's caption goes to each clip of its moment."""
    from multimodal.captioning.attention import word_attention
    from multimodal.captioning.dataset import caption_inputs

    (moment,) = seen_moments(material, (caption.start + caption.end) / 2)
    (asked,) = caption_inputs(store, material, [moment], captioner.options, during=bool(captioner.references))
    return word_attention(trained, captioner, asked, caption.text)


def plain_captions(
    store: Store, catalogue: Catalogue, table: WordsAndTokens, material: Material, *, at: float | None = None
) -> list[Caption]:
    """The same by words that people said: those heard in the moment, else those of the learned moment that looks most
    like it, in another video. Raises what :func:`caption` raises."""
    found = []
    for m in seen_moments(material, at):
        if m.text and material.transcript.is_understood:
            found.append(Caption(m.start, m.end, m.text, None, "heard", m.text))
            continue
        nearest = table.alike(m.tokens, material.video.video)
        source = None if nearest is None else table.counts.source(nearest)
        known = source and catalogue.get(source[0])
        if not known:
            found.append(Caption(m.start, m.end, "", None, "nearest_neighbour"))
            continue
        said = {s.start: s.text for s in read_transcript(store, known).sentences}
        found.append(
            Caption(m.start, m.end, said.get(source[1], ""), None, "nearest_neighbour",
                    source=CaptionSource(known.video, known.name, *source[1:]))
        )  # fmt: skip
    return found


def seen_moments(material: Material, at: float | None) -> list[Segment]:
    """The moments of a video that show a clip, or only the one at second ``at``. Raises :class:`InputError`."""
    shown = [m for m in material.moments() if m.tokens]
    if not shown:
        raise InputError(
            f"video {material.video.name}: none of its picture could be read, so there is nothing to see; ask about another"
        )
    return shown if at is None else [moment_at(material, shown, at)]


def moment_at(material: Material, shown: Sequence[Segment], at: float) -> Segment:
    """The moment of ``shown`` that second ``at`` is in, else the nearest. Raises :class:`InputError` outside the video."""
    start, end = (
        float(material.starts[0]),
        max(float(material.starts[0]) + (material.video.seconds or 0), shown[-1].end),
    )
    if not start <= at <= end:
        raise InputError(
            f"{material.video.name}@{at:g}: outside the video, which runs from {start:g} s to {end:g} s; name a second in it"
        )
    return min(shown, key=lambda m: max(m.start - at, at - m.end, 0.0))


def webvtt(captions: Sequence[Caption]) -> str:
    """The captions as a WebVTT file; an empty one is left out."""
    return write_webvtt(cues_of((c.start, c.end, c.text) for c in captions if c.text))
