"""Cloze: what the model says at ``[MASK]``, for templates of words, for visual tokens, and for covered places."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from multimodal.examples.corruption import content_positions
from multimodal.examples.packing import TEXT_TYPE, Parts, chained
from multimodal.inference.left_to_right import LONGEST_PROMPT, coming_probabilities, fitting
from multimodal.inference.trained import BATCH, TokenSequence, Trained, encode, sequence
from multimodal.joint.large_vocabulary import ALL, Columns
from multimodal.store import InputError

MOST_PIECES = 96
"""Word pieces of a text that is asked about, at most; the rest of a sequence is for visual tokens."""
MANY = 2 * BATCH
"""Sequences encoded at once where evaluation asks many short ones."""

Question = tuple[list[int], list[int], int]
"""Ids and types of a sequence, and the place in it that is covered."""


@torch.no_grad()
def masked_logits(
    trained: Trained,
    sequences: Sequence[TokenSequence],
    *,
    of_type: int | None = None,
    columns: Columns = ALL,
    batch_size: int = BATCH,
) -> Iterator[tuple[torch.Tensor, list[int]]]:
    """For each batch: float32 logits at every ``[MASK]`` [M, C] on the CPU, and M by sequence.

    ``of_type``: only the masks of this token type (text or video). ``columns``: the part of the vocabulary that is asked for.
    Raises what :func:`check_fills_blanks` raises.
    """
    check_fills_blanks(trained)
    for batch, x_TH in encode(trained, sequences, batch_size, trained.cloze):
        asked_T = batch.ids_T == trained.vocabulary.mask
        if of_type is not None:
            asked_T &= batch.types_T == of_type
        logits_MC = trained.cloze.cloze(x_TH[asked_T], columns=columns).float().cpu()
        yield logits_MC, torch.bincount(batch.sequence_T[asked_T], minlength=len(batch.lengths_S)).tolist()


def check_fills_blanks(trained: Trained, asked: str = "[MASK]") -> None:
    """Raises :class:`InputError` where the model reads left to right, so that it cannot see what stands behind a blank;
    ``asked`` is what was asked for."""
    if trained.left_to_right:
        raise InputError(
            f"{asked}: model {trained.name} reads left to right and fills no blanks; leave it out, or train one that does: "
            "--system videobert"
        )


# templates


def known_ids(trained: Trained, name: str, text: str) -> list[int]:
    """The word-piece ids of a person's ``text``; ``name`` says what it is.

    Raises :class:`InputError` where it is empty, too long, or has a word that the vocabulary lacks.
    """
    vocabulary = trained.vocabulary
    ids = vocabulary.encode(text)
    if not ids:
        raise InputError(f"{name} {text!r}: is empty; write a word or more")
    if len(ids) > MOST_PIECES:
        raise InputError(
            f"{name} {text[:40]!r}…: {len(ids)} word pieces; at most {MOST_PIECES}, make it shorter"
        )
    lacking = [word for word in text.split() if vocabulary.unknown in vocabulary.encode(word)]
    if lacking:
        raise InputError(
            f"{name} {text!r}: the model's vocabulary lacks {lacking[0]!r}; choose a plainer word"
        )
    return ids


def template_ids(trained: Trained, template: str) -> list[int]:
    """The template's word-piece ids with [MASK] at each blank.

    Raises :class:`InputError` where it has no blank, or what :func:`known_ids` raises.
    """
    parts = template.split("[MASK]")
    if len(parts) == 1:
        raise InputError(f"--template {template!r}: has no blank; write [MASK] where a word is to be found")
    if "".join(parts).strip():
        known_ids(trained, "--template", " ".join(parts))
    ids = trained.vocabulary.encode(parts[0])
    for part in parts[1:]:
        ids += [trained.vocabulary.mask, *trained.vocabulary.encode(part)]
    return ids


def blank_log_probabilities(
    trained: Trained, texts: Sequence[Sequence[int]], tokens: Sequence[Sequence[int]]
) -> list[torch.Tensor]:
    """For each text with [MASK]s and its visual tokens (or none): log-probabilities over the word pieces, [blanks, words].

    Specials and unused rows of the vocabulary are left out (−inf).
    """
    vocabulary, found = trained.vocabulary, []
    words = len(vocabulary.words)
    allowed_V = torch.full((words,), -torch.inf)
    allowed_V[list(vocabulary.replaceable_words)] = 0
    sequences = [sequence(vocabulary, ids, run) for ids, run in zip(texts, tokens, strict=True)]
    for logits_MV, counts in masked_logits(trained, sequences, of_type=TEXT_TYPE, columns=slice(words)):
        found += torch.log_softmax(logits_MV + allowed_V, -1).split(counts)
    return found


def fill_blanks(trained: Trained, template: str, tokens: Sequence[int]) -> tuple[str, float]:
    """The template with its blanks filled, and the geometric mean of the probabilities of the words that were put in.

    The surest blank is filled first; the others are asked again with it in place. Whole words only.
    """
    vocabulary = trained.vocabulary
    ids = template_ids(trained, template)
    whole_V = torch.tensor([word.isalpha() for word in vocabulary.spellings])
    total, count = 0.0, ids.count(vocabulary.mask)
    for _ in range(count):
        (log_p,) = blank_log_probabilities(trained, [ids], [tokens])
        best, words = log_p.masked_fill(~whole_V, -torch.inf).max(-1)
        surest = int(best.argmax())
        places = [i for i, token in enumerate(ids) if token == vocabulary.mask]
        ids[places[surest]] = int(words[surest])
        total += float(best[surest])
    return sentence(vocabulary.decode(ids)), float(torch.tensor(total / count).exp())


def sentence(text: str) -> str:
    """Decoded word pieces as a person writes: no space before a mark, a capital at the start."""
    for mark in ".,!?;:":
        text = text.replace(f" {mark}", mark)
    text = text.replace(" ' ", "'")
    return text[:1].upper() + text[1:]


# visual tokens


def visual_probabilities(
    trained: Trained,
    words: Sequence[Sequence[int]],
    tokens: Sequence[Sequence[int]],
    *,
    allowed: torch.Tensor | None = None,
    examples: Sequence[Parts] = (),
) -> torch.Tensor:
    """Probabilities of the visual tokens at each masked place, [masks, visual tokens] over all sequences in their order.

    ``words``: word-piece ids beside each run of ``tokens``, in which −1 is a masked place. ``allowed`` bool [visual
    tokens]: the probability of all others is 0. A model that reads left to right is asked for the last places alone,
    which it rolls out; it alone reads ``examples`` before, the words and visual tokens of other moments.
    """
    vocabulary = trained.vocabulary
    if trained.left_to_right:
        return _rolled_out(trained, words, tokens, allowed, examples)
    sequences = [sequence(vocabulary, text, run) for text, run in zip(words, tokens, strict=True)]
    if allowed is None:
        allowed = torch.ones(vocabulary.visual, dtype=torch.bool)
    # Rows of a range are read where they lie, single rows are copied.
    few = 2 * int(allowed.sum()) < len(allowed)
    ids = allowed.nonzero()[:, 0] + vocabulary.first_visual
    columns, found = ids if few else vocabulary.visual_ids, []
    for logits_MC, _ in masked_logits(trained, sequences, columns=columns, batch_size=MANY):
        logits_MA = logits_MC if few else logits_MC[:, allowed]
        p_MK = logits_MA.new_zeros(len(logits_MA), vocabulary.visual)
        p_MK[:, allowed] = logits_MA.softmax(-1)
        found.append(p_MK)
    return torch.cat(found)


def _rolled_out(
    trained: Trained,
    words: Sequence[Sequence[int]],
    tokens: Sequence[Sequence[int]],
    allowed: torch.Tensor | None,
    examples: Sequence[Parts],
) -> torch.Tensor:
    prompts, ahead = [], []
    for text, run in zip(words, tokens, strict=True):
        count = list(run).count(-1)
        if any(token >= 0 for token in run[len(run) - count :]):
            check_fills_blanks(trained, "a hidden clip before others")
        parts = [*fitting(examples, (text, run)), (text, run)]
        ids, types = chained(trained.vocabulary, parts, LONGEST_PROMPT)
        # [SEP] and the masked places before it are what is to come.
        prompts.append((ids[: -count - 1], types[: -count - 1]))
        ahead.append(count)
    return torch.cat(coming_probabilities(trained, prompts, ahead, allowed))


# covered places


def questions(trained: Trained, text: Sequence[int] | None, tokens: Sequence[int] | None) -> list[Question]:
    """One question for each word piece and visual token of a sequence."""
    ids, types = sequence(trained.vocabulary, text, tokens)
    return [(ids, types, place) for place in content_positions(trained.vocabulary, ids)]


def guess(trained: Trained, asked: Sequence[Question]) -> tuple[list[int], list[float]]:
    """For each question, with its place covered: the likeliest id of its modality, and log p of the right one.

    The log-probability is over the whole vocabulary, as in the loss.
    """
    first, end = trained.vocabulary.visual_ids.start, trained.vocabulary.visual_ids.stop
    found, log_ps = [], []
    covered = [([*ids[:p], trained.vocabulary.mask, *ids[p + 1 :]], types) for ids, types, p in asked]
    right = torch.tensor([ids[place] for ids, _, place in asked])
    done = 0
    for logits_MV, _ in masked_logits(trained, covered, batch_size=MANY):
        right_M = right[done : done + len(logits_MV)]
        done += len(logits_MV)
        log_ps += (logits_MV.gather(1, right_M[:, None])[:, 0] - logits_MV.logsumexp(-1)).tolist()
        visual_M = right_M >= first
        logits_MV[:, end:] = -torch.inf
        logits_MV[visual_M, :first] = -torch.inf
        logits_MV[~visual_M, first:] = -torch.inf
        found += logits_MV.argmax(-1).tolist()
    return found, log_ps
