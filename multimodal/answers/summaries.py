"""Which way a video is summarised: by what the store has, and by what held-out figures say of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from multimodal.answers import session, summary
from multimodal.answers.quality import By, Quality
from multimodal.answers.results import SummaryAnswer
from multimodal.catalogue import Video
from multimodal.library import read_transcript
from multimodal.store import InputError

if TYPE_CHECKING:
    from multimodal.answers.opened_store import OpenedStore

NO_MODEL = "The store has no model yet, so these are sentences that were said: the most central ones."


def summarise(opened: OpenedStore, video: str, sentences: int | None, by: By) -> SummaryAnswer:
    """The answer of :meth:`~multimodal.answers.opened_store.OpenedStore.summarise`, and what it raises."""
    count = summary.SENTENCES if sentences is None else sentences
    if count < 1:
        raise InputError(f"--sentences {count}: at least 1; {summary.SENTENCES} is usual")
    moment = session.resolve(opened.catalogue, video)
    if moment.at is not None:
        raise InputError(
            f"{video}: a summary is of a whole video; leave the second out, or ask `videobert caption {video}`"
        )
    session.check_usable(moment.video)
    said = _said(opened, moment.video)
    if by != "model" and opened.catalogue.current("model") is None:
        if not said:
            raise InputError(
                f"video {moment.video.name}: nobody says anything in it that could be summarised, and the store has no model; "
                "run `videobert run VIDEOS`"
            )
        quality = Quality("unknown", "plain", False, NO_MODEL)
        return SummaryAnswer(moment.video, tuple(summary.most_central(said, count)), "said", quality)
    quality = opened.evaluation.quality("caption", by)
    if quality.method == "plain" and (said or by == "plain"):
        if not said:
            raise InputError(
                f"video {moment.video.name}: nobody says anything in it that could be summarised; say --by model"
            )
        return SummaryAnswer(moment.video, tuple(summary.most_central(said, count)), "said", quality)
    quality = opened.evaluation.quality("caption", "model")
    if opened.trained.writer is not None:
        shown = session.material_of(opened.store, opened.trained, moment.video).moments()
        found = summary.by_decoder(opened.trained, shown, count)
        return SummaryAnswer(moment.video, tuple(found), "written", quality)
    return SummaryAnswer(moment.video, tuple(_captions(opened, moment.video, count)), "captioner", quality)


def _said(opened: OpenedStore, video: Video) -> list[summary.SummarySentence]:
    """What was said and understood."""
    transcript = read_transcript(opened.store, video)
    if not transcript.is_understood:
        return []
    return [summary.SummarySentence(s.text.strip(), s.start, s.end) for s in transcript.sentences]


def _captions(opened: OpenedStore, video: Video, count: int) -> Sequence[summary.SummarySentence]:
    """The most central captions of its moments; one that repeats the caption before it joins it."""
    from multimodal.answers.caption import captioned

    if opened.captioner is None:
        raise InputError(
            "summarise by the model: it has no decoder, and the store no captioner; run `videobert captioner`, pretrain with "
            "--system bart or t5, or leave --by model out"
        )
    material = session.material_of(opened.store, opened.trained, video)
    captions = captioned(opened.store, opened.trained, opened.captioner, material)
    sentences = summary.joined(summary.SummarySentence(c.text, c.start, c.end) for c in captions)
    return summary.most_central(sentences, count)
