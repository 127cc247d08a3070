"""Heads: what fine-tuning made of a joint model, opened for answers. A head belongs to the model that it was trained on.

``heads/NAME.json`` names the head's folder under ``heads/``, whose last checkpoint holds the weights that were moved.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from multimodal.examples.moments import (
    clip_positions,
    has_what_is_read,
    moment_sequence,
    ordered,
    summary_position,
    token_units,
    windows,
)
from multimodal.examples.options import SCORE
from multimodal.examples.packing import Example, pack
from multimodal.inference.head_shapes import HeadShape, shape_of
from multimodal.inference.trained import BATCH, TokenSequence, Trained, check_opened, model_digest
from multimodal.library import Material
from multimodal.names import did_you_mean
from multimodal.objectives.finetuning import AVERAGE, MOVED, FineTuningObjective, TaskHead
from multimodal.objectives.lstm_heads import NETWORK, LstmObjective, TaughtLogits
from multimodal.objectives.objective import TERM_FILE, Reading, predictions
from multimodal.segments import Segment
from multimodal.store import InputError, Store, reading
from multimodal.terms import LABEL
from multimodal.training import checkpoints
from vision.clips import CLIP_SECONDS

OPENED = ("card.json", "trainer.json", MOVED, TERM_FILE, AVERAGE, NETWORK)
WINDOWS_WEIGHED = 2.0
"""c of (P_max + P_mean · n/c) / (1 + n/c), the probability of a class over n windows (Huang et al. 2019, ClinicalBERT, section
3.4: with more windows the mean weighs more, as the largest of many is large by chance)."""


@dataclasses.dataclass(frozen=True)
class Head:
    """A head that is open: its name, its shape, and the objective whose model and term answer."""

    name: str
    shape: HeadShape
    objective: FineTuningObjective | LstmObjective

    @property
    def term(self) -> TaskHead | TaughtLogits:
        return self.objective.head


def heads_root(store: Store) -> Path:
    """The folder of a store's heads."""
    return store.root / "heads"


def head_file(store: Store, name: str) -> Path:
    return heads_root(store) / f"{name}.json"


def head_names(store: Store) -> list[str]:
    """The names of a store's heads."""
    return sorted(path.stem for path in heads_root(store).glob("*.json"))


def read_head(store: Store, name: str) -> dict[str, Any]:
    """What is stored of a head: its address, its task, its figures. Raises :class:`InputError` where there is none."""
    path = head_file(store, name)
    names = head_names(store)
    if name not in names:
        have = f"; the store has {', '.join(names)}" if names else ""
        raise InputError(
            f"--head {name}: not in store {store.root}{did_you_mean(name, names)}{have}; `videobert finetune --task FILE` makes one"
        )
    with reading(path):
        return json.loads(path.read_text())


def check_own(store: Store, model: str, folder: Path, name: str) -> dict[str, Any]:
    """What is stored of a head of the model whose last checkpoint ``folder`` is; neither is loaded. Raises :class:`InputError`
    where there is none, or it belongs to another model."""
    about = read_head(store, name)
    if about["model_sha256"] != model_digest(folder):
        raise InputError(
            f"--head {name}: belongs to model {about['model']} at {about['step']}, not to {model} at "
            f"{folder.name}, the store's model now; run `videobert finetune --task FILE` again"
        )
    return about


def load_head(store: Store, trained: Trained, name: str) -> Head:
    """A head of this model. Raises :class:`InputError` where there is none, it was changed, or it belongs to another model."""
    about = check_own(store, trained.name, trained.folder, name)
    folder = checkpoints.latest(heads_root(store) / about["head"])
    if folder is None:
        raise InputError(
            f"--head {name}: its folder {about['head']} is missing; run `videobert finetune --task FILE` again"
        )
    check_opened(folder, OPENED)
    head_shape = shape_of(json.loads((folder / "card.json").read_text()))
    objective = head_shape.opened(trained)
    objective.load(folder)
    checkpoints.check_finite(folder, objective)
    if head_shape.averaged:
        objective.take_average()
    return Head(name, head_shape, objective.to(trained.model.device).eval())


@torch.no_grad()
def asked_logits(trained: Trained, head: Head, examples: Sequence[Example]) -> np.ndarray:
    """The head's logits float64 [n, C] for all that the examples ask for, in their order."""
    columns = len(head.shape.classes) or 1
    found = [np.zeros((0, 1 if head.shape.sentence else columns))]
    for states, positions in _asked(trained, head, examples):
        found.append(head.term.logits(states, positions).double().cpu().numpy())
    return np.concatenate(found).reshape(-1, columns)


@torch.no_grad()
def asked_states(trained: Trained, head: Head, examples: Sequence[Example]) -> np.ndarray:
    """The states float32 [n, H] that the head reads for all that the examples ask for, in their order."""
    asked = _asked(trained, head, examples)
    return np.concatenate([states.x_TH[positions].float().cpu().numpy() for states, positions in asked])


def _asked(
    trained: Trained, head: Head, examples: Sequence[Example]
) -> Iterator[tuple[Reading, torch.Tensor]]:
    """What the head's model reads of each batch of examples, and the positions that they ask for."""
    for first in range(0, len(examples), BATCH):
        batch = pack([ordered(example, trained.attention) for example in examples[first : first + BATCH]])
        batch = batch.to(trained.model.device)
        yield head.objective.read(batch), predictions(batch, head.term.asked)[:, 0]


def answers_of(shape: HeadShape, logits_NC: np.ndarray) -> np.ndarray:
    """Logits as probabilities [N, C], or as the scores that they stand for [N, 1]."""
    if shape.kind == SCORE:
        return logits_NC * shape.deviation + shape.mean
    if shape.several:
        return 1 / (1 + np.exp(-logits_NC))
    shifted = np.exp(logits_NC - logits_NC.max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True)


def sequence_example(trained: Trained, asked: TokenSequence, row: int = 0) -> Example:
    """A sequence with the question of its label, which is row ``row`` of what the head learns."""
    ids, types = asked
    return Example(ids, types, {LABEL: [(summary_position(ids, trained.attention), row)]})


def answer_sequences(trained: Trained, head: Head, sequences: Sequence[TokenSequence]) -> np.ndarray:
    """The answer about each sequence: probabilities [N, C] or scores [N, 1]."""
    examples = [sequence_example(trained, asked) for asked in sequences]
    return answers_of(head.shape, asked_logits(trained, head, examples))


def mean_of_windows(answers_NC: np.ndarray) -> np.ndarray:
    """The mean over the windows [C]."""
    return answers_NC.mean(0)


def combined_windows(answers_NC: np.ndarray) -> np.ndarray:
    """(P_max + P_mean · n/c) / (1 + n/c) over n windows [C], c = :data:`WINDOWS_WEIGHED`."""
    weight = len(answers_NC) / WINDOWS_WEIGHED
    return (answers_NC.max(0) + answers_NC.mean(0) * weight) / (1 + weight)


def by_unit(
    answers_NC: np.ndarray,
    unit_N: Sequence[int],
    units: int,
    by: Callable[[np.ndarray], np.ndarray] = mean_of_windows,
) -> np.ndarray:
    """One answer about each unit [units, C] of those of the windows that it is in."""
    of_N = np.asarray(unit_N, np.int64)
    order = np.argsort(of_N, kind="stable")
    ends = np.cumsum(np.bincount(of_N, minlength=units))
    return (
        np.stack([by(part) for part in np.split(answers_NC[order], ends[:-1])]) if units else answers_NC[:0]
    )


@dataclasses.dataclass(frozen=True)
class BestSpan:
    """The ``first`` and ``last`` clip of the best answer in a ``window``, and its log-odds against no answer there."""

    window: int
    first: int
    last: int
    log_odds: float


def best_span(scores: Sequence[np.ndarray]) -> BestSpan | None:
    """The best pair of a start and an end that is not before it, over all windows; ``None`` without a clip.

    ``scores``: of each window [n, 2], the log-odds of each clip as start and as end (:func:`span_log_odds`).
    """
    best: BestSpan | None = None
    for number, score_N2 in enumerate(scores):
        sums_NN = np.where(np.tri(len(score_N2)).T > 0, score_N2[:, :1] + score_N2[:, 1], -np.inf)
        if sums_NN.size and (best is None or sums_NN.max() > best.log_odds):
            first, last = np.unravel_index(int(sums_NN.argmax()), sums_NN.shape)
            best = BestSpan(number, int(first), int(last), float(sums_NN.max()))
    return best


@torch.no_grad()
def span_log_odds(
    trained: Trained, head: Head, sequences: Sequence[TokenSequence], positions: Sequence[Sequence[int]]
) -> list[np.ndarray]:
    """For each sequence [n, 2]: the logits of these positions as start and as end, less those of no answer (Devlin et al.
    2019, section 4.3, SQuAD 2.0)."""
    found = []
    for first in range(0, len(sequences), BATCH):
        some = sequences[first : first + BATCH]
        batch = pack([ordered(Example(*asked), trained.attention) for asked in some]).to(trained.model.device)
        every_T = torch.arange(batch.tokens, device=batch.ids_T.device)
        logits_T2 = head.term.logits(head.objective.read(batch), every_T).double().cpu().numpy()
        of_each = np.split(logits_T2, np.cumsum(batch.lengths_S.tolist())[:-1])
        for (ids, _), logits, places in zip(some, of_each, positions[first : first + BATCH], strict=True):
            found.append(logits[list(places)] - logits[summary_position(ids, trained.attention)])
    return found


def answer_whole(trained: Trained, head: Head, material: Material) -> np.ndarray:
    """The answer about a whole video [1, C], from its windows; none [0, C] where nothing of it can be read."""
    of = readable(head, windows(material, head.shape.window, head.shape.stride))
    answers = answer_moments(trained, head, of)
    return combined_windows(answers)[None] if len(of) else answers


def answer_question(
    trained: Trained, head: Head, material: Material, question: str
) -> tuple[float, float, float] | None:
    """Start and end in seconds of the answer to a question, and its log-odds; ``None`` where the video holds none."""
    sequences, positions, clips = [], [], []
    for window in readable(head, windows(material, head.shape.window, head.shape.stride)):
        ids, types = moment_sequence(trained.vocabulary, window, head.shape.read, question)
        if places := clip_positions(trained.vocabulary, ids):
            sequences.append((ids, types))
            positions.append(places)
            clips.append(window.clips)
    best = best_span(span_log_odds(trained, head, sequences, positions))
    if best is None or best.log_odds <= 0:
        return None
    first, last = (material.starts[clips[best.window][place]] for place in (best.first, best.last))
    return float(first), float(last) + CLIP_SECONDS, best.log_odds


def answer_units(
    trained: Trained, head: Head, material: Material
) -> tuple[list[tuple[float, float]], np.ndarray]:
    """The times of a video's clips (words, where words alone are read) in order, and the answer about each [N, C]."""
    numbers: dict[tuple[float, float], int] = {}
    examples, of_unit = [], []
    for window in windows(material, head.shape.window, head.shape.stride):
        units = token_units(trained.vocabulary, material, window, head.shape.read)
        asks = [(position, 0) for position in units.positions]
        if asks:
            examples.append(Example(units.ids, units.types, {LABEL: asks}))
            of_unit += [numbers.setdefault(time, len(numbers)) for time in units.times]
    answers = answers_of(head.shape, asked_logits(trained, head, examples))
    found = by_unit(answers, of_unit, len(numbers))
    order = sorted(numbers)
    return order, found[[numbers[time] for time in order]]


def answer_moments(
    trained: Trained, head: Head, moments: Sequence[Segment], text: str | None = None
) -> np.ndarray:
    """The answer about each moment [N, C], beside ``text`` where the task is of pairs."""
    read_ = head.shape.read
    if head.shape.sentence:
        choices = [example for moment in moments for example in head.shape.choices(trained, moment)]
        return answers_of(head.shape, asked_logits(trained, head, choices))
    return answer_sequences(
        trained, head, [moment_sequence(trained.vocabulary, moment, read_, text) for moment in moments]
    )


def readable(head: Head, moments: Sequence[Segment]) -> list[Segment]:
    """The moments of which there is something to read for the head."""
    return [m for m in moments if has_what_is_read(m, head.shape.read)]
