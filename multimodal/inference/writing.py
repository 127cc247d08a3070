"""Writing: what a system with a decoder fills, continues, judges and tells, in the form in which it learned it (BART, T5).

A question with ``[MASK]``s becomes what the system reads when something is hidden, and what it would write, with the answers left
open. Shapes: N sequences, B samples or beams of each, T tokens, M masks, V vocabulary, H hidden.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from multimodal.examples import tasks
from multimodal.examples.packing import TEXT_TYPE, VIDEO_TYPE, Batch, Example, Parts, pack, sequence
from multimodal.examples.sentinels import with_sentinels
from multimodal.inference.beam import BeamOptions, beam_search
from multimodal.joint.large_vocabulary import ALL, Columns
from multimodal.joint.model import JointBert
from multimodal.joint.writer import TargetReader, Writer, positions
from multimodal.segments import Segment
from multimodal.systems import NOISES, SENTINELS
from multimodal.vocabulary import Vocabulary

if TYPE_CHECKING:
    from multimodal.inference.trained import Trained

SAMPLES = 16
"""Continuations that are drawn of each context; the probabilities of a clip are the mean over them."""
PROMPT = 8
"""Tokens of a prompt beside its segments, at most."""
BATCH = 32
"""Sequences written at once."""


@dataclasses.dataclass(frozen=True)
class BlankWriter:
    """Fills ``[MASK]``s as :class:`~multimodal.joint.trimming.ClozeReader` does, for a model with a ``writer``.

    Of several masks of a sequence each is asked after the likeliest tokens of those before it.
    """

    model: JointBert
    writer: Writer
    vocabulary: Vocabulary
    form: str

    def encode(self, batch: Batch) -> torch.Tensor:
        """The decoder's states [T, H] before each ``[MASK]`` is written; 0 at all other tokens."""
        x_TH = torch.zeros(batch.tokens, self.model.options.hidden_size, device=self.model.device)
        sequences = zip(
            batch.ids_T.cpu().split(batch.lengths_S.tolist()),
            batch.types_T.cpu().split(batch.lengths_S.tolist()),
            strict=True,
        )
        asked = [as_written(self.vocabulary, self.form, i.tolist(), t.tolist()) for i, t in sequences]
        first_S = (batch.lengths_S.cumsum(0) - batch.lengths_S).tolist()
        number = 0
        while open_ := [n for n, blank in enumerate(asked) if number < len(blank.places)]:
            reading = pack([asked[n].example() for n in open_]).to(self.model.device)
            y_UH = TargetReader(self.model, self.writer).encode(reading)
            begins = (reading.target.lengths_S.cumsum(0) - reading.target.lengths_S).tolist()
            at = [begin + asked[n].places[number][0] for begin, n in zip(begins, open_, strict=True)]
            to = [first_S[n] + asked[n].places[number][1] for n in open_]
            states = y_UH[torch.tensor(at, device=y_UH.device)]
            x_TH[torch.tensor(to, device=x_TH.device)] = states.to(x_TH.dtype)
            number += 1
            if any(number < len(asked[n].places) for n in open_):
                self._fill(asked, open_, number - 1, self.cloze(states), batch.types_T[to])
        return x_TH

    def _fill(
        self,
        asked: list[Blanks],
        open_: list[int],
        number: int,
        logits_NV: torch.Tensor,
        types_N: torch.Tensor,
    ) -> None:
        """Puts the likeliest token of the mask's own modality in its place."""
        visual_V = torch.zeros(self.vocabulary.size, dtype=torch.bool, device=logits_NV.device)
        visual_V[self.vocabulary.visual_ids] = True
        words_V = torch.zeros_like(visual_V)
        words_V[list(self.vocabulary.replaceable_words)] = True
        allowed_NV = torch.where((types_N == VIDEO_TYPE)[:, None].to(visual_V.device), visual_V, words_V)
        likeliest = logits_NV.masked_fill(~allowed_NV, -torch.inf).argmax(-1).tolist()
        for n, token in zip(open_, likeliest, strict=True):
            asked[n].written[asked[n].places[number][0]] = token

    def transform(self, x_MH: torch.Tensor) -> torch.Tensor:
        """The states [M, H] that are compared with the rows of the vocabulary."""
        return self.writer.decoder.transform(x_MH)

    def cloze(self, x_MH: torch.Tensor, *, columns: Columns = ALL) -> torch.Tensor:
        """Logits over ``columns`` of the vocabulary [M, C]."""
        return self.writer.logits(self.model, x_MH, columns=columns)


@dataclasses.dataclass
class Blanks:
    """What is read, and what is ``written`` with tokens for the masks that are filled in turn; ``places``: of each mask among
    what is written, and among the tokens of the question."""

    ids: list[int]
    types: list[int]
    written: list[int]
    places: list[tuple[int, int]]
    begin: int

    def example(self) -> Example:
        """As far as the last mask: nothing is asked of what follows."""
        end = self.places[-1][0] if self.places else 0
        target = [self.begin, *self.written[:end]]
        return Example(self.ids, self.types, target=Example(target, [TEXT_TYPE] * len(target)))


def as_written(vocabulary: Vocabulary, form: str, ids: list[int], types: list[int]) -> Blanks:
    """A sequence with ``[MASK]``s in the ``form`` of a system."""
    masks = [n for n, token in enumerate(ids) if token == vocabulary.mask]
    begin = vocabulary.cls_id
    if form == NOISES:
        # Masks in a row are read as one, as in infilling; a single one is the same in both noises.
        kept = [n for n in range(len(ids)) if n not in masks or n - 1 not in masks]
        return Blanks(
            [ids[n] for n in kept],
            [types[n] for n in kept],
            ids[1:],
            [(n - 1, n) for n in masks],
            begin,
        )
    end = len(ids) - 1
    coming = masks and masks == list(range(masks[0], end)) and ids[1] == vocabulary.join and masks[0] > 2
    if coming:
        context = [token - vocabulary.first_visual for token in ids[2 : masks[0]]]
        read = tasks.prompt(vocabulary, form, tasks.NEXT, [([], context)], len(ids) + PROMPT)
        return Blanks(*read, [vocabulary.mask] * len(masks), list(enumerate(masks)), begin)
    found = with_sentinels(vocabulary, ids, types, "", masks)
    written = [*found.target.ids[1:], vocabulary.sep]
    places = [n for n, token in enumerate(written) if token == vocabulary.mask]
    return Blanks(found.ids, found.types, written, list(zip(places, masks, strict=True)), begin)


@torch.no_grad()
def coming_probabilities(
    trained: Trained,
    contexts: Sequence[Sequence[int]],
    ahead: int,
    heard: Sequence[Sequence[int]],
    seed: int = 0,
) -> torch.Tensor:
    """Probabilities of the visual tokens 1 … ``ahead`` clips after each context: [n, ahead, tokens].

    The first is exact; those further on are means over :data:`SAMPLES` continuations, drawn clip by clip, always the same.
    """
    vocabulary, generator = trained.vocabulary, torch.Generator(trained.model.device).manual_seed(seed)
    table = torch.zeros(len(contexts), ahead, vocabulary.visual)
    for some in _batches_of_one_length(contexts, heard):
        follow, token_NB = _before_the_coming(trained, [(heard[n], contexts[n]) for n in some])
        for clip in range(ahead):
            p_NBK = follow(token_NB, vocabulary.visual_ids).float().softmax(-1)
            table[some, clip] = p_NBK.mean(1).cpu()
            if clip + 1 == ahead:
                break
            # Each of the first draws goes on by itself.
            drawn = p_NBK.flatten(0, 1).multinomial(1 if clip else SAMPLES, True, generator=generator)
            token_NB = drawn.view(len(some), -1) + vocabulary.first_visual
            if clip == 0:
                follow.cache.keep(torch.arange(len(some)), torch.zeros_like(token_NB))
    return table


def _batches_of_one_length(
    contexts: Sequence[Sequence[int]], heard: Sequence[Sequence[int]]
) -> list[list[int]]:
    """The numbers of contexts that can be written together: BART writes them before what comes."""
    lengths = [(len(words), len(tokens)) for words, tokens in zip(heard, contexts, strict=True)]
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    groups = (list(some) for _, some in itertools.groupby(order, key=lengths.__getitem__))
    return [group[i : i + BATCH] for group in groups for i in range(0, len(group), BATCH)]


def _before_the_coming(trained: Trained, contexts: Sequence[Parts]) -> tuple[_Following, torch.Tensor]:
    """The decoder before it writes the first coming clip, and the token [N, 1] that stands before it."""
    vocabulary = trained.vocabulary
    if trained.form == SENTINELS:
        read = [tasks.prompt(vocabulary, SENTINELS, tasks.NEXT, [context]) for context in contexts]
        written = [[vocabulary.cls_id]] * len(read)
    else:
        read = [sequence(vocabulary, words, [*tokens, -1]) for words, tokens in contexts]
        written = [ids[:-2] for ids, _ in read]
    follow = _Following(trained, read)
    token_LN = torch.tensor(written, device=trained.model.device).T
    for token_N in token_LN[:-1]:
        follow(token_N[:, None])
    return follow, token_LN[-1][:, None]


@torch.no_grad()
def alignment_by_text(
    trained: Trained, words: Sequence[Sequence[int]], tokens: Sequence[Sequence[int]]
) -> torch.Tensor:
    """The probability [n] of "true" against "false" as T5's answer to ``align:``."""
    vocabulary = trained.vocabulary
    answers = [vocabulary.encode(answer)[0] for answer in (tasks.TRUE, tasks.FALSE)]
    found = [torch.zeros(0)]
    for first in range(0, len(words), BATCH):
        segments = zip(words[first : first + BATCH], tokens[first : first + BATCH], strict=True)
        read = [tasks.prompt(vocabulary, trained.form, tasks.ALIGN, [segment]) for segment in segments]
        follow = _Following(trained, read)
        logits = follow(torch.full((len(read), 1), vocabulary.cls_id, device=trained.model.device))
        found.append(logits[:, 0, answers].float().softmax(-1)[:, 0].cpu())
    return torch.cat(found)


@torch.no_grad()
def write(
    trained: Trained,
    task: str,
    asked: Sequence[Sequence[Parts]],
    longest: int = 40,
    options: BeamOptions = BeamOptions(),  # noqa: B008 - frozen
) -> list[tuple[str, float]]:
    """The text of a ``task`` for each sequence of segments by beam search, and the geometric mean of its pieces' probabilities."""
    vocabulary, found = trained.vocabulary, []
    end = tasks.end_of(vocabulary, trained.form, task)
    barred_V = torch.full((vocabulary.size,), -torch.inf, device=trained.model.device)
    barred_V[[end, *vocabulary.replaceable_words]] = 0.0
    for first in range(0, len(asked), BATCH):
        some = asked[first : first + BATCH]
        room = trained.model.options.max_position_embeddings
        read = [tasks.prompt(vocabulary, trained.form, task, segments, min(room, 512)) for segments in some]
        follow = _Following(trained, read)

        def next_log_p(written: torch.Tensor, kept: torch.Tensor, parent: torch.Tensor) -> torch.Tensor:
            if follow.cache.length:  # noqa: B023 - called before the next batch
                follow.cache.keep(kept, parent)  # noqa: B023
            logits = follow(written[..., -1].to(trained.model.device))  # noqa: B023
            return torch.log_softmax(logits.float(), -1).add_(barred_V)

        for w in beam_search(next_log_p, len(some), vocabulary.cls_id, end, longest, options):
            text = vocabulary.decode(list(w.pieces))
            found.append((text, math.exp(w.log_p / w.count)))
    return found


def write_captions(trained: Trained, tokens: Sequence[Sequence[int]]) -> list[tuple[str, float]]:
    """A caption for each run of visual tokens (:func:`write`)."""
    return write(trained, tasks.CAPTION, [[((), run)] for run in tokens])


def summary_windows(
    trained: Trained, segments: Sequence[Segment], count: int, longest: int = 128
) -> list[list[Segment]]:
    """The segments in ``count`` windows of about as many each, and in more where one would hold more than in training, or more
    than ``longest`` tokens with what is asked; a sentence is written of each."""
    windows: list[list[Segment]] = []
    room = 0
    most = min(tasks.WINDOW, max(1, math.ceil(len(segments) / count)))
    for segment in segments:
        length = len(trained.vocabulary.encode(segment.text)) + len(segment.tokens) + 2
        if not windows or length > room or len(windows[-1]) == most:
            windows.append([])
            room = longest - PROMPT
        windows[-1].append(segment)
        room -= length
    return windows


def write_summaries(trained: Trained, windows: Sequence[Sequence[Segment]]) -> list[str]:
    """A sentence for each window of segments (:func:`write`)."""
    vocabulary = trained.vocabulary
    asked = [[(vocabulary.encode(s.text), s.tokens) for s in window] for window in windows]
    return [text for text, _ in write(trained, tasks.SUMMARY, asked)]


class _Following:
    """What follows, token by token: called with the last token of each beam [N, B], it gives logits [N, B, C]."""

    def __init__(self, trained: Trained, read: Sequence[tuple[list[int], list[int]]]):
        self._model, self._writer = trained.model, trained.writer
        batch = pack([Example(ids, types) for ids, types in read]).to(trained.model.device)
        x_SLH = torch.nn.utils.rnn.pad_sequence(
            trained.model.encode(batch).split(batch.lengths_S.tolist()), True
        )
        present = torch.arange(x_SLH.shape[1], device=x_SLH.device) < batch.lengths_S[:, None]
        self.cache = self._writer.decoder.begin(x_SLH, present)

    def __call__(self, token_NB: torch.Tensor, columns: Columns = ALL) -> torch.Tensor:
        rows, _ = self._model.bert["embeddings"].embedding_lookup(token_NB.flatten())
        place = torch.tensor([self.cache.length], device=rows.device)
        rows_NBH = (rows + positions(self._model, place)).view(*token_NB.shape, -1)
        state_NBH = self._writer.decoder.step(rows_NBH, self.cache)
        logits = self._writer.logits(self._model, state_NBH.flatten(0, 1), columns=columns)
        return logits.view(*token_NB.shape, -1)
