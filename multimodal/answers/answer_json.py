"""The JSON of each answer, the same for a command, a flow and the page."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multimodal.answers import session
from multimodal.answers.opened_store import OpenedStore, check_search
from multimodal.answers.quality import By, Quality
from multimodal.answers.results import (
    CaptionAnswer,
    ChaptersAnswer,
    ClassifyAnswer,
    ForecastAnswer,
    ImagineAnswer,
    PredictAnswer,
    SearchAnswer,
    SummaryAnswer,
    TokenProbability,
)
from multimodal.store import InputError, write_whole

if TYPE_CHECKING:
    from multimodal.answers.fusion import Hit
    from multimodal.inference.sampling import SamplingOptions

Document = dict[str, Any]


def search(
    folder: Path,
    text: str | None = None,
    *,
    like: str | None = None,
    texts: bool = False,
    top: int = 5,
    device: str = "cpu",
) -> Document:
    """The answer of :meth:`OpenedStore.search`; ``like`` is in it only where it was asked for.

    ``hits`` is empty and ``reason`` says why where nothing was found.
    """
    check_search(text, like=like, texts=texts, top=top)
    with OpenedStore(folder, device) as store:
        return search_document(store.search(text, like=like, texts=texts, top=top))


def search_document(answer: SearchAnswer) -> Document:
    document: Document = {
        "query": answer.query, "by": answer.by, "unknown": list(answer.unknown), "ignored": list(answer.ignored),
        "corrected": dict(answer.corrected), "unsaid": list(answer.unsaid), "suggestion": answer.suggestion,
        "reason": answer.reason, "unindexed": answer.unindexed,
    }  # fmt: skip
    if answer.like is not None:
        video = answer.like.video
        document["like"] = {"video": video.video, "name": video.name, "at": answer.like.at}
    return document | {"hits": [hit_document(hit) for hit in answer.hits]}


def hit_document(hit: Hit) -> Document:
    return vars(hit) | {"labels": hit.labels}


def caption(
    folder: Path,
    video: str,
    *,
    at: float | None = None,
    template: str | None = None,
    vtt: Path | None = None,
    by: By = "auto",
    device: str = "cpu",
    sampling: SamplingOptions | None = None,
    examples: Sequence[str] = (),
    prompt: str | None = None,
) -> Document:
    """The answer of :meth:`OpenedStore.caption`. ``vtt``: a file that the whole video's captions are written to."""
    with OpenedStore(folder, device) as store:
        if vtt is not None:
            moment = session.resolve(store.catalogue, video, at)
            if moment.at is not None:
                raise InputError(
                    f"--vtt {vtt}: holds the captions of a whole video; leave the second {moment.at:g} out"
                )
            _check_writable("--vtt", vtt, ".vtt")
        answer = store.caption(
            video, at=at, template=template, sampling=sampling, examples=examples, prompt=prompt, by=by
        )
    document = caption_document(answer)
    if vtt is not None:
        from multimodal.answers.caption import webvtt

        write_whole(vtt, webvtt(answer.captions).encode())
        document["vtt"] = str(vtt.absolute())
    return document


def caption_document(answer: CaptionAnswer) -> Document:
    return {
        "video": answer.video.video, "name": answer.video.name,
        "captions": [dataclasses.asdict(c) for c in answer.captions], "quality": _quality(answer.quality),
    }  # fmt: skip


def forecast(
    folder: Path,
    video: str,
    *,
    at: float | None = None,
    top: int = 3,
    words: bool = False,
    rollout: float | None = None,
    sampling: SamplingOptions | None = None,
    examples: Sequence[str] = (),
    by: By = "auto",
    device: str = "cpu",
) -> Document:
    """The answer of :meth:`OpenedStore.next`; ``rollout`` is in it only where it was asked for."""
    with OpenedStore(folder, device) as store:
        return forecast_document(
            store.next(
                video,
                at=at,
                top=top,
                words=words,
                rollout=rollout,
                sampling=sampling,
                examples=examples,
                by=by,
            )
        )


def forecast_document(answer: ForecastAnswer) -> Document:
    document = {
        "video": answer.video.video, "name": answer.video.name, "at": answer.at, "heard": answer.heard,
        "horizons": [{"seconds": h.seconds, "tokens": [_token(t) for t in h.tokens]} for h in answer.horizons],
        "quality": _quality(answer.quality),
    }  # fmt: skip
    if answer.rollout is not None:
        clips = [{"seconds": clip.seconds} | _token(clip.token) for clip in answer.rollout.clips]
        document["rollout"] = dataclasses.asdict(answer.rollout.options) | {"clips": clips}
    return document


def classify(
    folder: Path,
    video: str,
    *,
    verbs: Sequence[str] = (),
    nouns: Sequence[str] = (),
    at: float | None = None,
    examples: Sequence[str] = (),
    by: By = "auto",
    device: str = "cpu",
) -> Document:
    """The answer of :meth:`OpenedStore.classify`."""
    with OpenedStore(folder, device) as store:
        return classify_document(
            store.classify(video, verbs=verbs, nouns=nouns, at=at, examples=examples, by=by)
        )


def classify_document(answer: ClassifyAnswer) -> Document:
    return {
        "video": answer.video.video, "name": answer.video.name,
        "moments": [{"start": m.start, "end": m.end} | dataclasses.asdict(m.names) for m in answer.moments],
        "quality": _quality(answer.quality),
    }  # fmt: skip


def chapters(folder: Path, video: str, *, to: str = "text", by: By = "auto", device: str = "cpu") -> Document:
    """The answer of :meth:`OpenedStore.chapters`; ``to`` says in which form people are shown it."""
    with OpenedStore(folder, device) as store:
        return chapters_document(store.chapters(video, by=by)) | {"to": to}


def chapters_document(answer: ChaptersAnswer) -> Document:
    return {
        "video": answer.video.video, "name": answer.video.name, "method": answer.method,
        "chapters": [dataclasses.asdict(chapter) for chapter in answer.chapters],
    }  # fmt: skip


def imagine(
    folder: Path,
    text: str,
    *,
    clips: int | None = None,
    out: Path | None = None,
    by: By = "auto",
    device: str = "cpu",
) -> Document:
    """The answer of :meth:`OpenedStore.imagine`. ``out``: a PNG file that the strip of its pictures is written to."""
    if out is not None:
        _check_writable("--out", out, ".png")
    with OpenedStore(folder, device) as store:
        answer = store.imagine(text, clips=clips, by=by)
    if out is not None:
        from multimodal.answers.imagine import strip

        write_whole(out, strip([clip.token.picture for clip in answer.clips]))
    return imagine_document(answer) | {"strip": out and str(out.absolute())}


def imagine_document(answer: ImagineAnswer) -> Document:
    return {
        "text": answer.text, "strip": None,
        "clips": [_token(c.token) | {"nearest": c.nearest and dataclasses.asdict(c.nearest)} for c in answer.clips],
        "quality": _quality(answer.quality),
    }  # fmt: skip


def summarise(
    folder: Path, video: str, *, sentences: int | None = None, by: By = "auto", device: str = "cpu"
) -> Document:
    """The answer of :meth:`OpenedStore.summarise`."""
    with OpenedStore(folder, device) as store:
        return summary_document(store.summarise(video, sentences=sentences, by=by))


def summary_document(answer: SummaryAnswer) -> Document:
    return {
        "video": answer.video.video, "name": answer.video.name, "route": answer.route, "text": answer.text,
        "sentences": [dataclasses.asdict(s) for s in answer.sentences], "quality": _quality(answer.quality),
    }  # fmt: skip


def predict(
    folder: Path,
    video: str,
    *,
    head: str,
    text: str | None = None,
    at: float | None = None,
    to: str = "text",
    device: str = "cpu",
) -> Document:
    """The answer of :meth:`OpenedStore.predict`; ``to`` says in which form people are shown it."""
    with OpenedStore(folder, device) as store:
        return predict_document(store.predict(video, head=head, text=text, at=at)) | {"to": to}


def predict_document(answer: PredictAnswer) -> Document:
    return {
        "video": answer.video.video, "name": answer.video.name, "head": answer.head, "kind": answer.kind,
        "text": answer.text, "moments": [dataclasses.asdict(m) | {"labels": list(m.labels)} for m in answer.moments],
        "figures": dict(answer.figures),
    }  # fmt: skip


def _quality(quality: Quality) -> Document:
    figures = {figure.name: dataclasses.asdict(figure) for figure in quality.figures}
    for figure in figures.values():
        del figure["name"]
    return dataclasses.asdict(quality) | {"figures": figures, "notes": quality.to_say}


def _token(token: TokenProbability) -> Document:
    picture = token.picture and str(token.picture)
    return {"token": token.label, "name": token.name, "picture": picture, "probability": token.probability}


def _check_writable(option: str, path: Path, ending: str) -> None:
    if path.suffix.lower() != ending:
        raise InputError(f"{option} {path}: name a file that ends in {ending}")
    if not path.absolute().parent.is_dir():
        raise InputError(f"{option} {path}: there is no folder {path.absolute().parent}; make it first")
