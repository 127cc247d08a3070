"""Answers as values: frozen dataclasses that are sequences of their items and show themselves in a notebook."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from multimodal.answers.scripts import isolated
from multimodal.catalogue import Video
from speech.sentences import with_end

if TYPE_CHECKING:
    from multimodal.answers.caption import Caption
    from multimodal.answers.chapters import Chapter
    from multimodal.answers.classify import Classified
    from multimodal.answers.fusion import Hit
    from multimodal.answers.quality import Quality
    from multimodal.answers.session import VideoTime
    from multimodal.answers.summary import SummarySentence
    from multimodal.inference.sampling import SamplingOptions


@dataclasses.dataclass(frozen=True)
class TokenProbability:
    """A visual token (a leaf of the codebook) with its probability.

    ``name``: the words that are said while it is shown, ``None`` where none is said more often than by chance.
    ``probability`` is ``None`` for a clip that was looked up. ``picture``: the JPEG of the clip nearest to its centroid, ``None`` for a token without one.
    """

    token: int
    probability: float | None
    name: str | None
    picture: Path | None

    @property
    def label(self) -> str:
        """The token as the tokenizer spells it: ``v00042``."""
        from multimodal.vocabulary import visual_name

        return visual_name(self.token)


@dataclasses.dataclass(frozen=True)
class HorizonForecast:
    """The likeliest visual tokens ``seconds`` ahead, best first."""

    seconds: float
    tokens: tuple[TokenProbability, ...]


@dataclasses.dataclass(frozen=True)
class SampledClip:
    """A clip of a rollout: the visual token that was sampled for the clip that ends ``seconds`` ahead."""

    seconds: float
    token: TokenProbability


@dataclasses.dataclass(frozen=True)
class Rollout:
    """One sample of the clips that may follow."""

    options: SamplingOptions
    clips: tuple[SampledClip, ...]


@dataclasses.dataclass(frozen=True)
class ClassifiedMoment:
    """The names of both lists for the moment from ``start`` to ``end`` s."""

    start: float
    end: float
    names: Classified


@dataclasses.dataclass(frozen=True)
class NearestClip:
    """The stored clip nearest to a token's centroid. ``name`` is ``None`` where its video was removed since."""

    video: str
    name: str | None
    start: float
    end: float


@dataclasses.dataclass(frozen=True)
class ImaginedClip:
    """A predicted clip; ``nearest`` is ``None`` for an imported token, which has no clip."""

    token: TokenProbability
    nearest: NearestClip | None


class Answer(Sequence):
    """The base of the answers: a sequence of the items in the field :attr:`items_field`.

    Those of the model have a ``quality``: how good they are on this library, and which method gave them.
    """

    items_field: ClassVar[str]

    def __len__(self) -> int:
        return len(getattr(self, self.items_field))

    def __getitem__(self, place: Any) -> Any:
        return getattr(self, self.items_field)[place]

    def _repr_html_(self) -> str:
        from multimodal.answers import display

        return display.answer_html(self)


@dataclasses.dataclass(frozen=True)
class SearchAnswer(Answer):
    """Moments, best first, for the text ``query`` or for what is shown at ``like``; none where nothing is found.

    ``by`` is ``words`` where the store has no model yet. ``unknown``: words of the query that the model's vocabulary lacks.
    ``ignored``: its stop words. ``corrected``: words and the near spellings that were looked up in their place. ``unsaid``:
    words that nobody says and no title has. ``suggestion``: a text that may have been meant. ``reason``: why nothing was
    found; ``None`` where something was.
    """

    query: str | None
    by: Literal["words", "model"]
    unknown: tuple[str, ...]
    like: VideoTime | None
    hits: tuple[Hit, ...]
    videos: tuple[Video, ...] = dataclasses.field(repr=False)
    """The videos of the hits, and of ``like``."""
    ignored: tuple[str, ...] = ()
    corrected: tuple[tuple[str, str], ...] = ()
    unsaid: tuple[str, ...] = ()
    suggestion: str | None = None
    reason: str | None = None
    unindexed: int = 0
    """Videos that no run has put into the index yet: they are not searched."""
    items_field: ClassVar[str] = "hits"


@dataclasses.dataclass(frozen=True)
class CaptionAnswer(Answer):
    """Captions of a video's moments, in order of time."""

    video: Video
    captions: tuple[Caption, ...]
    quality: Quality
    items_field: ClassVar[str] = "captions"


@dataclasses.dataclass(frozen=True)
class ForecastAnswer(Answer):
    """The forecast at each horizon after second ``at``. ``heard``: the words that were read too, ``None`` for none."""

    video: Video
    at: float
    heard: str | None
    horizons: tuple[HorizonForecast, ...]
    rollout: Rollout | None
    quality: Quality
    items_field: ClassVar[str] = "horizons"


@dataclasses.dataclass(frozen=True)
class ClassifyAnswer(Answer):
    """Verbs and nouns of a person's lists, ranked for each moment of a video."""

    video: Video
    moments: tuple[ClassifiedMoment, ...]
    quality: Quality
    items_field: ClassVar[str] = "moments"


@dataclasses.dataclass(frozen=True)
class ChaptersAnswer(Answer):
    """The chapters of a video in order of time. ``method``: who cut, ``model`` or ``plain``."""

    video: Video
    chapters: tuple[Chapter, ...]
    method: Literal["model", "plain"]
    items_field: ClassVar[str] = "chapters"


@dataclasses.dataclass(frozen=True)
class ImagineAnswer(Answer):
    """The clips that ``text`` calls for, in order of time."""

    text: str
    clips: tuple[ImaginedClip, ...]
    quality: Quality
    items_field: ClassVar[str] = "clips"


@dataclasses.dataclass(frozen=True)
class SummaryAnswer(Answer):
    """One paragraph of a video. ``route``: ``said``, sentences of the transcript; ``written``, by the model's own decoder;
    ``captioner``, captions of what is seen."""

    video: Video
    sentences: tuple[SummarySentence, ...]
    route: Literal["said", "written", "captioner"]
    quality: Quality
    items_field: ClassVar[str] = "sentences"

    @property
    def text(self) -> str:
        """The paragraph; a sentence without a mark at its end gets a full stop."""
        return " ".join(with_end(s.text.strip()) for s in self.sentences)


@dataclasses.dataclass(frozen=True)
class PredictedMoment:
    """The answer of a head about ``[start, end)`` seconds: its ``labels``, one or several or none, and the ``probability`` of
    the first; or a ``score``. ``probabilities`` of all classes."""

    start: float
    end: float
    labels: tuple[str, ...]
    probability: float | None
    score: float | None
    probabilities: Mapping[str, float] = dataclasses.field(repr=False)

    @property
    def said(self) -> str:
        """The answer in words."""
        return (
            f"{self.score:.3g}" if self.score is not None else ", ".join(self.labels) or "none of the labels"
        )


@dataclasses.dataclass(frozen=True)
class PredictAnswer(Answer):
    """What the head of a task says of a video, in order of time. ``figures``: how good it is on held-out videos."""

    video: Video
    head: str
    kind: str
    text: str | None
    moments: tuple[PredictedMoment, ...]
    figures: Mapping[str, Mapping[str, Any]] = dataclasses.field(repr=False)
    items_field: ClassVar[str] = "moments"


def clock(seconds: float) -> str:
    """Seconds as a person reads them: ``75.25`` is ``1:15.2``."""
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}:{rest:04.1f}"


def evidence(hit: Mapping[str, Any]) -> str:
    """How a moment was found, from the fields of a :class:`~multimodal.answers.search.Hit`: words, cosines, its rank by sight."""
    parts = []
    if hit["heard"]:
        parts.append(f"heard ({', '.join(map(isolated, hit['words']))})")
    if hit["title"]:
        parts.append(f"title ({', '.join(hit['title_words'])})")
    if hit["near"]:
        parts.append(f"near in meaning (cosine {hit['text_cosine']:.2f})")
    if hit["seen"]:
        fits = "" if hit["alignment"] is None else f", fits {hit['alignment']:.2f}"
        parts.append(f"seen (no. {hit['sight_rank']} by sight, cosine {hit['cosine']:.2f}{fits})")
    return " + ".join(parts)


def search_notes(answer: Mapping[str, Any]) -> list[str]:
    """What is to be said of a text search beside its hits, from the fields of a :class:`SearchAnswer`."""
    corrected, suggestion, reason = answer["corrected"], answer["suggestion"], answer["reason"]
    notes = []
    if answer["by"] == "words":
        notes.append("By words alone: the store has no model yet; `videobert run VIDEOS` makes one.")
    if corrected:
        notes.append(f"Did you mean: {suggestion}? That was looked up.")
    elif suggestion and not answer["hits"]:
        notes.append(f"Did you mean: {suggestion}?")
    if answer["unindexed"]:
        notes.append(
            f"Not searched: {answer['unindexed']} new videos; `videobert index` puts them into the index."
        )
    if answer["hits"] and answer["unsaid"]:
        notes.append(f"Nobody says: {', '.join(answer['unsaid'])}.")
    if answer["unknown"]:
        notes.append(f"The model's vocabulary lacks: {', '.join(answer['unknown'])}.")
    if not answer["hits"]:
        notes.append(f"Nothing found: {reason}." if reason else "Nothing found.")
    return notes
