"""Pre-training from a store: which videos a model learns from, where it begins, where it is kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch

from multimodal.byte_pairs import BytePairVocabulary, load_vocabulary
from multimodal.catalogue import Video
from multimodal.examples.near_tokens import NearTokens
from multimodal.examples.options import ExampleOptions
from multimodal.examples.sampling import Examples
from multimodal.examples.segment_table import SegmentTable
from multimodal.examples.tasks import word_pieces
from multimodal.joint.initialization import from_checkpoint, from_joint, from_scratch
from multimodal.joint.model import JointBert
from multimodal.joint.options import ModelOptions, Shape
from multimodal.joint.trimming import TrimmedRows
from multimodal.library import Material, read_material, read_transcript
from multimodal.objectives.pretraining import PretrainingObjective
from multimodal.progress import Report
from multimodal.store import InputError, Store, recipe
from multimodal.systems import BYTE_BPE, SENTINELS, System
from multimodal.tokens import load_codebook, train_and_held_out
from multimodal.training.checkpoints import METRICS, Progress, check, latest
from multimodal.training.distributed import SINGLE_PROCESS, DistributedContext
from multimodal.training.loop import train
from multimodal.training.model_card import model_card
from multimodal.training.options import NOTHING, PretrainOptions, TrainingOptions
from multimodal.training.pieces import suited as suited_pieces
from multimodal.training.pieces import told_unknown, unknown_by_video, with_byte_pairs
from multimodal.training.start import (
    check_start,
    joint_start,
    start_for_address,
    start_of,
    told_about,
    told_start,
)
from multimodal.training.unfinished_runs import unfinished_runs
from multimodal.vocabulary import TrimmedVocabulary, Vocabulary
from vision.codebook import Codebook

VERSION = 10
SENTINEL_COUNT = 100
"""Sentinels of a vocabulary, as T5 has them."""
SAMPLE = 64
"""Spoken segments whose predictions set the bias of the word pieces that the library does not say."""


def model_name(store: Store, videos: Sequence[Video], codebook: str, options: PretrainOptions) -> str:
    """The address of the model that these videos, this codebook and these options give.

    A checkpoint to begin with counts by its content, wherever it lies.
    """
    train_videos, _ = train_and_held_out(store, videos, codebook)
    return _address(train_videos, codebook, suited(store, train_videos, options)[0])


def _address(train_videos: Sequence[Video], codebook: str, options: PretrainOptions) -> str:
    start = start_for_address(options, codebook)
    return recipe(
        version=VERSION,
        codebook=codebook,
        words=sorted(f"{v.video}.{v.transcript}" for v in train_videos),
        options=dataclasses.replace(options, text_start=start).for_address(),
    )


def pretrain(
    store: Store,
    videos: Sequence[Video],
    codebook: str,
    options: PretrainOptions,
    device: str,
    report: Report,
    context: DistributedContext = SINGLE_PROCESS,
    say: Callable[[str], None] = lambda _: None,
    begun: Callable[[str], None] = lambda _: None,
) -> tuple[str, Path]:
    """Pretrains the joint model, from its last checkpoint where a run was stopped; returns its name and its folder.

    ``begun`` is told the name before the work begins, ``say`` what cannot be learned, which pieces of words were chosen, which videos say what they do not know, and of
    unfinished runs of other models of the codebook.
    Raises :class:`InputError` where there is nothing to learn from, ``text_start`` is not known or cannot be used, or rows
    are to be frozen that have no centroids.
    """
    if joint_start(options) is not None:
        check_start(store, options)
    train_videos, held_out_videos = train_and_held_out(store, videos, codebook)
    options, chosen = suited(store, train_videos, options)
    name = model_name(store, videos, codebook, options)
    begun(name)
    start, joint = start_of(options), joint_start(options)
    fitted, frozen = load_codebook(store, codebook), options.visual_rows == "frozen"
    if frozen and not fitted.has_centroids:
        raise InputError(
            f"--visual-rows frozen: the tokens of codebook {codebook} were made elsewhere, so there are no centroids to keep; "
            "leave it out, or say trained"
        )
    if options.examples.near_rate and not fitted.has_centroids:
        raise InputError(
            f"--corrupt near: the tokens of codebook {codebook} were made elsewhere, so no centroid says which are near; "
            "leave it out, or say none"
        )
    centroids_KD = torch.from_numpy(fitted.leaf_centroids())
    last = context.broadcast([latest(store.model(name))])[0] if start is None else None
    if last is None:
        vocabulary = vocabulary_of(store, train_videos, options, len(centroids_KD))
    else:
        # A stopped training goes on with the pieces that it learned, whatever would be learned now.
        check(last)
        vocabulary = load_vocabulary(last)
    training = options.training
    parts = train_videos, held_out_videos
    examples, held_out = gather_parts(
        store, codebook, fitted, parts, vocabulary, options.examples, training, options.system
    )
    if not len(examples):
        raise InputError(
            f"store {store.root}: nothing was said or seen in its {len(train_videos)} videos, so there is nothing to learn from"
        )
    from_K = None if joint is None else joint.visual_tokens(store, codebook, options.visual_start)
    about = joint.about(codebook, from_K, [v.video for v in held_out_videos]) if joint else {}
    unknown = unknown_by_video(vocabulary.unknown, examples.spoken, held_out.spoken)
    trimmed = trim(vocabulary, examples, held_out)
    card = {
        "codebook": codebook, "trained_word_pieces": len(trimmed.vocabulary.kept), "learned": [v.video for v in train_videos], "held_out": [v.video for v in held_out_videos],
        "options": dataclasses.asdict(dataclasses.replace(options, text_start=told_start(options))), "spoken_segments": len(examples.spoken), "runs": len(examples.runs),
    } | ({"notice": examples.notice} if examples.notice else {}) | ({"unknown_pieces": unknown} if unknown else {}) | ({"start": about} if about else {})  # fmt: skip
    if context.is_main:
        for line in [
            *filter(
                None, [chosen, about and told_about(about), examples.notice, told_unknown(unknown, videos)]
            ),
            *unfinished_runs(store, name, card),
        ]:
            say(line)

    trained_as = options.system.network
    if trained_as["embedding_size"] and not frozen:
        trained_as["visual_rows"] = vocabulary.visual + vocabulary.sentinels

    def begin(checkpoint: Path | None) -> PretrainingObjective:
        if checkpoint is not None:
            shape = dataclasses.replace(ModelOptions.load(checkpoint), **trained_as)
            model = JointBert(trimmed.trimmed_options(shape))
        elif options.text_start == NOTHING:
            shape = options.shape or Shape()
            whole = from_scratch(shape, vocabulary, centroids_KD, training.seed, frozen=frozen)
            if options.begins_with_association:
                # SciPy's matrices take a while to import, and a model with a text start has no use for them.
                from multimodal.joint.association import association_rows

                rows = association_rows(
                    examples.spoken, examples.runs, trimmed.vocabulary, shape.hidden, training.seed
                )
                trimmed.set_rows(whole, rows)
            model = trimmed.begin(whole, **trained_as)
        else:
            whole = (
                from_checkpoint(start, vocabulary, centroids_KD, training.seed, frozen=frozen)
                if joint is None
                else from_joint(
                    start, vocabulary, torch.from_numpy(from_K), centroids_KD, training.seed, frozen=frozen
                )
            )
            options.system.check_width(whole.options.hidden_size)
            model = trimmed.begin(whole, **trained_as)
        if model.options.max_position_embeddings < options.examples.longest:
            raise InputError(
                f"--text-start {options.text_start}: has {model.options.max_position_embeddings} positions, examples have up "
                f"to {options.examples.longest} tokens; start from a BERT with more"
            )
        objective = PretrainingObjective(
            model, vocabulary, training.weights, trimmed, options.system, training.seed,
            by_width=options.text_start == NOTHING,
        )  # fmt: skip
        if joint is not None and checkpoint is None:
            joint.load_terms(objective, vocabulary, torch.from_numpy(from_K))
        card["trained_parameters"] = sum(p.numel() for p in objective.parameters() if p.requires_grad)
        return objective

    def describe(folder: Path, progress: Progress) -> None:
        shape, metrics = ModelOptions.load(folder), store.model(name) / METRICS
        about = model_card(card, shape, vocabulary, progress, metrics)
        (folder / "README.md").write_text(about, encoding="utf-8")

    folder = train(
        store.model(name), begin, examples, held_out if len(held_out) else None, training, device=torch.device(device),
        card=card, report=report, describe=describe, context=context,
    )  # fmt: skip
    return name, folder


def suited(
    store: Store, train_videos: Sequence[Video], options: PretrainOptions
) -> tuple[PretrainOptions, str]:
    """The options with the pieces that suit what is said, and a line where they are not the text start's."""
    if not options.choose_tokenizer:
        return options, ""
    return suited_pieces(store, train_videos, options, start_of(options))


def vocabulary_of(
    store: Store, train_videos: Sequence[Video], options: PretrainOptions, visual: int
) -> Vocabulary:
    """The vocabulary that a new model is trained with: of the text start, or learned from what the training videos say."""
    found = _words_of(store, train_videos, options, visual)
    return (
        dataclasses.replace(found, sentinels=SENTINEL_COUNT)
        if options.system.mask_unit == SENTINELS
        else found
    )


def _words_of(
    store: Store, train_videos: Sequence[Video], options: PretrainOptions, visual: int
) -> Vocabulary:
    start, joint = start_of(options), joint_start(options)
    if joint is not None:
        return dataclasses.replace(joint.vocabulary, visual=visual)
    if start is None:
        said = (s.text for video in train_videos for s in read_transcript(store, video).sentences)
        return BytePairVocabulary.learn(said, visual)
    return (BytePairVocabulary.of_roberta if options.system.tokenizer == BYTE_BPE else Vocabulary.of_bert)(
        start, visual
    )


def gather_parts(
    store: Store,
    codebook: str,
    fitted: Codebook,
    parts: tuple[Sequence[Video], Sequence[Video]],
    vocabulary: Vocabulary,
    options: ExampleOptions,
    training: TrainingOptions,
    system: System,
) -> tuple[Examples, Examples]:
    """The examples of the videos to learn from and of those held out, in which no visual token is replaced by a near one; ``fitted`` is
    the ``codebook``."""
    near_tokens = NearTokens.of_centroids(fitted.leaf_centroids()) if options.near_rate else None
    learned, held_out = (
        gather(
            vocabulary,
            (read_material(store, codebook, video) for video in part),
            options,
            training.seed + n,
            training.weights.active_terms & system.terms,
            fitted.used_.nonzero()[0].tolist(),
            system,
            near,
        )
        for n, (part, near) in enumerate(zip(parts, (near_tokens, None), strict=True))
    )
    return learned, held_out


def gather(
    vocabulary: Vocabulary,
    materials: Iterable[Material],
    options: ExampleOptions,
    seed: int,
    active_terms: frozenset[str] | None = None,
    used: Sequence[int] | None = None,
    system: System = System(),  # noqa: B008
    near_tokens: NearTokens | None = None,
) -> Examples:
    """The examples of videos, read one video at a time (:class:`~multimodal.examples.sampling.Examples`)."""
    spoken, runs = SegmentTable(vocabulary=vocabulary), SegmentTable()
    for material in materials:
        spoken.extend(s for s in material.spoken() if s.text)
        runs.extend(s for s in material.silent() if s.tokens)
    return Examples(vocabulary, spoken, runs, options, seed, active_terms, used, system, near_tokens)


def trim(vocabulary: Vocabulary, examples: Examples, held_out: Examples) -> TrimmedRows:
    """Trims both to the word pieces that ``examples`` say.

    A piece that none says has the share of those that are said once (Good 1953, as Turing found): of all pieces of speech
    so many are expected to be new.
    """
    counts_W = examples.spoken.piece_counts()
    once, total = int((counts_W == 1).sum()), int(counts_W.sum())
    said = counts_W.nonzero()[0].tolist()
    kept = TrimmedVocabulary.of(vocabulary, [*said, *word_pieces(vocabulary, examples.system.mask_unit)])
    for part in (examples, held_out):
        part.trim(kept)
    # What a corruption learns of the library it learns from the training videos alone.
    held_out.corrupt = examples.corrupt
    sample = examples.batch([(0, item) for item in range(min(SAMPLE, len(examples.spoken), len(examples)))])
    return TrimmedRows(kept, (once + 1) / (total + 2), sample)


def kept_after_removals(
    store: Store,
    name: str,
    codebook: str,
    videos: Sequence[Video],
    removed: Sequence[Video],
    options: PretrainOptions,
) -> bool:
    """Whether the current model ``name`` differs from the one asked for only by videos that were removed since.

    Such a model is kept until a refit. A removed video that came back, perhaps transcribed anew, counts as it was.
    """
    if not removed or latest(store.model(name)) is None:
        return False
    if name == model_name(store, videos, codebook, options):
        return False
    before = list(({v.video: v for v in videos} | {v.video: v for v in removed}).values())
    train_videos, _ = train_and_held_out(store, before, codebook)
    # What the removed videos said is gone, so which pieces suited it then is told by the model alone.
    chosen = [options, with_byte_pairs(options)] if options.choose_tokenizer else [options]
    return name in {_address(train_videos, codebook, o) for o in chosen}
