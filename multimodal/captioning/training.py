"""Training of a captioner: from the corpus' own sentences, then from reference captions; the address it is stored under."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from multimodal.captioning.dataset import (
    CaptionDataset,
    EncodedView,
    caption_inputs,
    encode_views,
    reference_segments,
)
from multimodal.captioning.options import CaptionerOptions, Reference
from multimodal.catalogue import Video
from multimodal.inference.trained import Trained, model_digest
from multimodal.joint.caption_decoder import CaptionDecoder, DecoderShape
from multimodal.library import Material, read_material
from multimodal.objectives.captioning import CaptioningObjective
from multimodal.progress import Report, announce
from multimodal.segments import Segment
from multimodal.store import InputError, Store, canonical_json, recipe
from multimodal.tokens import train_and_held_out
from multimodal.training import checkpoints
from multimodal.training.distributed import SINGLE_PROCESS, DistributedContext
from multimodal.training.loop import train
from multimodal.training.options import TrainingOptions

VERSION = 2


@dataclasses.dataclass(frozen=True)
class Captions:
    """Moments and the sentences to be written of them, as word-piece ids with ``[SEP]`` at the end."""

    views: list[EncodedView]
    sentences: list[list[int]]


def captioner_name(trained: Trained, options: CaptionerOptions, references: Sequence[Reference] = ()) -> str:
    """The address of the captioner that a model, these options and reference captions give.

    The model's own address holds the videos and the words that it learned from.
    """
    told = hashlib.sha256(canonical_json(sorted(references)).encode()).hexdigest() if references else ""
    return f"{trained.name}.{trained.folder.name}.{recipe(version=VERSION, options=options, references=told)}"


def learn_captioner(
    store: Store,
    trained: Trained,
    videos: Sequence[Video],
    options: CaptionerOptions,
    report: Report,
    references: Sequence[Reference] = (),
    context: DistributedContext = SINGLE_PROCESS,
) -> str | None:
    """Trains a captioner on the sentences of the videos that the model learned from, then fine-tunes it on reference
    captions of these videos; returns its name, ``None`` where nobody says anything while a clip is shown.

    Fine-tuning begins with the captioner without references, which has an address of its own. A run that was stopped goes
    on from its last checkpoint, on a CPU to the same weights bit for bit. Raises :class:`InputError` where reference
    captions are given and none is of a video that the model learned from, and what the training loop raises.
    """
    name = captioner_name(trained, options, references)
    last = checkpoints.finished(store.captioner(name))
    if last is not None:
        checkpoints.check(last)
        if context.is_main:
            checkpoints.prune_checkpoints(store.captioner(name))
        return name
    train_videos, _ = train_and_held_out(store, videos, trained.codebook)
    materials = [read_material(store, trained.codebook, video) for video in train_videos]
    announce(f"encoding the moments of {len(materials)} videos")
    corpus, referenced = gather(store, trained, materials, options, references)
    if corpus is None and referenced is None:
        return None
    card = {
        "model": trained.name, "step": trained.folder.name, "model_sha256": model_digest(trained.folder),
        "learned": [v.video for v in train_videos], "sentences": len(corpus.views) if corpus else 0, "references": 0,
        "options": dataclasses.asdict(options),
    }  # fmt: skip
    first: Path | None = None
    if corpus is not None:
        root = store.captioner(captioner_name(trained, options))
        first = train_captioner(
            root, trained, corpus, options, options.training, card, report, context=context
        )
    if referenced is not None:
        card |= {"references": len(referenced.views)}
        root = store.captioner(name)
        train_captioner(root, trained, referenced, options, options.fine_tuning, card, report, first, context)
    return name


def gather(
    store: Store | None,
    trained: Trained,
    materials: Sequence[Material],
    options: CaptionerOptions,
    references: Sequence[Reference] = (),
) -> tuple[Captions | None, Captions | None]:
    """The corpus' own sentences and the reference captions of these videos, each ``None`` where there is none.

    With ``options.words`` a sentence is read beside the one before it, as its own words would be the answer; a reference
    caption beside what is said in its time.
    """
    by_video: dict[str, list[Reference]] = {}
    for reference in references:
        by_video.setdefault(reference[0], []).append(reference)
    known = {m.video.video for m in materials}
    if references and not known & set(by_video):
        raise InputError(
            f"{len(references)} reference captions: none is of a video that model {trained.name} learned from; "
            "name videos by their digest, and some that are not held out"
        )
    spoken = [(m, [s for s in m.spoken() if s.text and s.tokens]) for m in materials]
    referenced = [(m, reference_segments(m, by_video.get(m.video.video, []))) for m in materials if by_video]
    return (
        _captions(store, trained, spoken, options, during=False),
        _captions(store, trained, referenced, options, during=True),
    )


def _captions(
    store: Store | None,
    trained: Trained,
    segments: Sequence[tuple[Material, list[Segment]]],
    options: CaptionerOptions,
    *,
    during: bool,
) -> Captions | None:
    inputs = [i for m, some in segments for i in caption_inputs(store, m, some, options, during=during)]
    sentences = [_ids(trained, s.text, options.longest) for _, some in segments for s in some]
    kept = [i for i, ids in enumerate(sentences) if ids]
    if not kept:
        return None
    views = encode_views(trained, [inputs[i] for i in kept], options.template)
    return Captions(views, [sentences[i] for i in kept])


def _ids(trained: Trained, text: str, longest: int) -> list[int]:
    """A sentence's word pieces and its end; one that is too long has no end."""
    ids = [i for i in trained.vocabulary.encode(text) if i != trained.vocabulary.unknown]
    return [] if not ids else [*ids, trained.vocabulary.sep][:longest]


def train_captioner(
    root: Path,
    trained: Trained,
    captions: Captions,
    options: CaptionerOptions,
    training: TrainingOptions,
    card: dict[str, Any],
    report: Report,
    first: Path | None = None,
    context: DistributedContext = SINGLE_PROCESS,
) -> Path:
    """Trains a captioner in ``root`` by the training loop; returns its last checkpoint. It begins with the captioner in
    ``first``, or else with the encoder's weights."""
    joint, vocabulary = trained.model, trained.vocabulary
    marks = (vocabulary.cls_id, vocabulary.sep)
    words = {i for ids in captions.sentences for i in ids}
    if first is not None:
        words |= set(DecoderShape.load(first).pieces)
    pieces = (*marks, *sorted(words - set(marks)))
    dataset = CaptionDataset(captions.views, captions.sentences, pieces, options.seed)
    shape = DecoderShape(options.layers, options.dropout, options.longest, dataset.feature_width, pieces)

    def begin(checkpoint: Path | None) -> CaptioningObjective:
        decoder = CaptionDecoder(joint, shape)
        if checkpoint is None:
            decoder.init_weights(joint, options.seed)
        if checkpoint is None and first is not None:
            decoder.init_from_captioner(CaptionDecoder.load(first, joint).cpu())
        return CaptioningObjective(decoder, options.smoothing)

    return train(
        root, begin, dataset, None, training, device=joint.device, card=card, report=report, context=context
    )
