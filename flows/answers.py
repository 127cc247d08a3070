"""The flows `search`, `caption`, `next`, `classify` and `imagine`: each answer as a run, with an artifact to read.

Parameters and results are JSON; a result is the document that the command prints with `--json`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from flows.lines import (
    Document,
    caption_lines,
    classify_lines,
    imagine_lines,
    next_lines,
    search_lines,
)
from flows.settings import DEFAULT_STORE
from multimodal.answers import answer_json
from multimodal.answers.forecast import SamplingOptions


def _shown(key: str, asked: str, document: Document, lines: Callable[[Document], list[str]]) -> Document:
    """The document, and beside the run what a person reads of it."""
    text = "\n".join(["```text", *(line.replace("`", "'") for line in lines(document)), "```"])
    create_markdown_artifact(key=key, markdown=text, description=asked)
    return document


@flow(name="search", persist_result=False)
def search(
    text: str | None = None,
    store: Path = DEFAULT_STORE,
    like: str | None = None,
    texts: bool = False,
    top: int = 5,
    device: str = "cpu",
) -> Document:
    """The moments of all videos that a text, or another moment (``like``: VIDEO@S), calls for, best first."""
    found = answer_json.search(store, text, like=like, texts=texts, top=top, device=device)
    return _shown("search", text or f"like {like}", found, search_lines)


@flow(name="caption", persist_result=False)
def caption(
    video: str,
    store: Path = DEFAULT_STORE,
    at: float | None = None,
    template: str | None = None,
    vtt: Path | None = None,
    device: str = "cpu",
) -> Document:
    """What a video shows, in words; ``video`` may be a moment, ``VIDEO@S``."""
    found = answer_json.caption(store, video, at=at, template=template, vtt=vtt, device=device)
    return _shown("caption", video, found, caption_lines)


@flow(name="next", persist_result=False)
def next_(
    video: str,
    store: Path = DEFAULT_STORE,
    at: float | None = None,
    top: int = 3,
    words: bool = False,
    rollout: float | None = None,
    sampling: SamplingOptions | None = None,
    device: str = "cpu",
) -> Document:
    """What comes after a moment, ``VIDEO@S``, as visual tokens."""
    found = answer_json.forecast(
        store, video, at=at, top=top, words=words, rollout=rollout, sampling=sampling, device=device
    )
    return _shown("next", video, found, next_lines)


@flow(name="classify", persist_result=False)
def classify(
    video: str,
    store: Path = DEFAULT_STORE,
    verbs: list[str] | None = None,
    nouns: list[str] | None = None,
    at: float | None = None,
    device: str = "cpu",
) -> Document:
    """Which verbs and nouns of two lists fit each moment of a video, or one ``VIDEO@S``."""
    found = answer_json.classify(store, video, verbs=verbs or [], nouns=nouns or [], at=at, device=device)
    return _shown("classify", video, found, classify_lines)


@flow(name="imagine", persist_result=False)
def imagine(
    text: str, store: Path = DEFAULT_STORE, clips: int = 3, out: Path | None = None, device: str = "cpu"
) -> Document:
    """Text to video: the visual tokens that a sentence calls for."""
    found = answer_json.imagine(store, text, clips=clips, out=out, device=device)
    return _shown("imagine", text, found, imagine_lines)
