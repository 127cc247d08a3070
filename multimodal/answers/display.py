"""HTML of answers and of a store for a notebook: fragments that hold their pictures and no script.

All text is escaped, and the notebook's typesetting of formulas is turned off for it: names and sentences come from files
that anybody may have made. Colours are those of the notebook's theme.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

from multimodal.answers.results import (
    Answer,
    CaptionAnswer,
    ChaptersAnswer,
    ClassifyAnswer,
    ForecastAnswer,
    ImagineAnswer,
    PredictAnswer,
    SearchAnswer,
    SummaryAnswer,
    TokenProbability,
    clock,
    evidence,
    search_notes,
)
from multimodal.catalogue import STATES, Catalogue, Video
from multimodal.library import usable
from multimodal.pictures import FrameTime, data_url, read_frames
from multimodal.store import Store
from multimodal.tokens import describe

if TYPE_CHECKING:
    from multimodal.answers.fusion import Hit

TEMPLATE = "notebook.html"
MOST_SHOWN = 24
"""Items of one answer that are shown; a video of an hour has hundreds of captions, and each has a frame to decode."""
MACROS = {SearchAnswer: "search", CaptionAnswer: "caption", ForecastAnswer: "forecast",
          ClassifyAnswer: "classify", ImagineAnswer: "imagine", ChaptersAnswer: "chapters",
          SummaryAnswer: "summary", PredictAnswer: "predict"}  # fmt: skip


def answer_html(answer: Answer) -> str:
    """The answer's first :data:`MOST_SHOWN` items with their frames, read from the video files that are still there."""
    items = answer[:MOST_SHOWN]
    frames = read_frames(_videos(answer), _frame_times(answer, items), lambda *_: None)

    def frame(video: str, second: float) -> str | None:
        return frames.get(FrameTime(video, second))

    return _render(MACROS[type(answer)], answer, items, frame)


def store_html(store: Store, catalogue: Catalogue, codebook: str | None) -> str:
    """The store at a glance: its videos by state, its codebook, and the model and captioner in use."""
    used = usable(catalogue)
    states = [video.state for video in catalogue.videos()]
    return _render(
        "store",
        str(store.root),
        {state: states.count(state) for state in STATES if state in states},
        {
            "hours": math.fsum(v.seconds or 0 for v in used) / 3600,
            "clips": sum(v.clips or 0 for v in used),
            "sentences": sum(v.sentences or 0 for v in used),
        },
        codebook and {"digest": codebook} | describe(store, codebook),
        {kind: catalogue.current(kind) for kind in ("model", "captioner")},
    )


def _videos(answer: Answer) -> Sequence[Video]:
    if isinstance(answer, SearchAnswer):
        return answer.videos
    video = getattr(answer, "video", None)
    return [] if video is None else [video]


def _frame_times(answer: Answer, items: Sequence[Any]) -> list[FrameTime]:
    """The middle of each item's moment; of a question about a second, that second."""
    if isinstance(answer, SearchAnswer):
        asked = [FrameTime(answer.like.video.video, answer.like.at)] if answer.like else []
        return asked + [FrameTime(hit.video, middle(hit)) for hit in items]
    if isinstance(answer, CaptionAnswer | ClassifyAnswer | ChaptersAnswer | PredictAnswer):
        return [FrameTime(answer.video.video, middle(item)) for item in items]
    return [FrameTime(answer.video.video, answer.at)] if isinstance(answer, ForecastAnswer) else []


def middle(item: Any) -> float:
    """Seconds: half way from ``start`` to ``end``."""
    return (item.start + item.end) / 2


def token_picture(token: TokenProbability) -> str | None:
    """The token's picture as a data URL, ``None`` where it has none any more."""
    try:
        return token.picture and data_url(token.picture.read_bytes())
    except OSError:
        return None


def _render(macro: str, *arguments: Any) -> str:
    html = str(getattr(_template().module, macro)(*arguments))
    # A lone surrogate in a name cannot be sent to the notebook's page.
    return html.encode("utf-8", "replace").decode()


def html_environment(folder: Path) -> jinja2.Environment:
    """The environment of the HTML templates in ``folder``: all is escaped, and a name that is not given is an error."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def hit_evidence(hit: Hit) -> str:
    """How a moment was found, in words."""
    return evidence(dataclasses.asdict(hit))


@functools.cache
def _template() -> jinja2.Template:
    environment = html_environment(Path(__file__).parent)
    environment.filters |= {
        "clock": clock, "middle": middle, "token_picture": token_picture,
        "evidence": hit_evidence,
        "search_notes": lambda answer: search_notes(vars(answer)),
    }  # fmt: skip
    return environment.get_template(TEMPLATE)
