"""Sampling: which segments, token runs and pairs are drawn, in an order that resumes.

Every random choice is a function of (seed, epoch, item), so a run that was stopped meets the same masks again (dynamic
masking as in RoBERTa, section 4.1). The modalities are VideoBERT's (section 3.2): text alone, video alone, both.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np

from multimodal.examples import tasks
from multimodal.examples.corruption import Corruption, mask_suffix
from multimodal.examples.corruptions import CORRUPTIONS
from multimodal.examples.denoising import infill_suffix
from multimodal.examples.extra_terms import EXTRAS
from multimodal.examples.filling import MARKS, SEQUENCES, Groups, following_tokens, preceding_tokens
from multimodal.examples.near_tokens import NearTokens
from multimodal.examples.negatives import NegativeSampler
from multimodal.examples.options import ExampleOptions
from multimodal.examples.orders import ORDERS, PREDICTED, VIDEO_FIRST_RATE, video_first
from multimodal.examples.packing import Batch, Example, chained, pack, sequence
from multimodal.examples.pairs import CLS_POSITION, PAIRS, Spoken, subsampled
from multimodal.examples.segment_table import SegmentTable
from multimodal.segments import CONTEXT, HORIZONS, Segment, joined
from multimodal.systems import EXTRA_TERMS, NOISES, PAIR_TASKS, PERMUTATION, SENTINELS, System
from multimodal.terms import CONTRAST, JOINT, TASKS, TEXT, VIDEO
from multimodal.vocabulary import TrimmedVocabulary, Vocabulary

STATIC_DRAWINGS = 10
"""Different drawings of an item under static masking (BERT's data in RoBERTa, Liu et al. 2019, section 4.1)."""


class Examples:
    """Everything that can be learned from: each spoken segment, and each run of visual tokens.

    A spoken segment gives a text-only example and, where it has tokens, a dual-encoder pair (perhaps with that of another
    segment of its video) and joint examples, those of the system's pair task. A run gives a video-only example, of a crop
    that is drawn anew each time. Runs are long and so few: each occurs as often in an epoch as makes them
    ``runs_per_spoken_segment`` times the spoken segments. Words or video may be absent. A system with full sequences reads
    several spoken segments, or runs, of a video in a row (:mod:`multimodal.examples.filling`).
    ``active_terms``: only what these terms of the loss ask for is drawn; ``None``: all of the system's. ``used``: the visual
    tokens that stand in for others, those that clips have (:func:`~multimodal.examples.corruption.mask_tokens`).
    ``near_tokens``: those that replace the ``near_rate`` of what is read; ``None``: all is read as it is.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        spoken: SegmentTable,
        runs: SegmentTable,
        options: ExampleOptions,
        seed: int,
        active_terms: frozenset[str] | None = None,
        used: Sequence[int] | None = None,
        system: System = System(),  # noqa: B008
        near_tokens: NearTokens | None = None,
    ):
        self.vocabulary, self.options, self.seed, self.system = vocabulary, options, seed, system
        self.active_terms = active_terms = (
            system.terms if active_terms is None else active_terms & system.terms
        )
        self._used, self._near_tokens = used, near_tokens
        self.spoken, self.runs = spoken, runs
        self.negatives = NegativeSampler(self.spoken)
        self._full, self._order = system.sequences == "full", ORDERS[system.attention]
        # Items are spoken segments (all, or those that show something) or groups of them, then visits to runs.
        self._spoken_items = SEQUENCES[system.sequences](spoken, options.longest, TEXT not in active_terms)
        if not active_terms - {VIDEO} - EXTRA_TERMS[system.extra_terms]:
            self._spoken_items = Groups(())
        self._visits = 0
        if VIDEO in active_terms and self.runs:
            wanted = options.runs_per_spoken_segment * len(self._spoken_items)
            self._visits = max(1, round(wanted / len(self.runs))) * len(self.runs)

    @classmethod
    def of(
        cls,
        vocabulary: Vocabulary,
        spoken: Iterable[Segment],
        runs: Iterable[Segment],
        options: ExampleOptions,
        seed: int,
        active_terms: frozenset[str] | None = None,
        used: Sequence[int] | None = None,
        system: System = System(),  # noqa: B008
    ) -> Examples:
        """The examples of segments; spoken ones without text and runs without tokens are left out."""
        with_text = SegmentTable((s for s in spoken if s.text), vocabulary)
        with_tokens = SegmentTable(s for s in runs if s.tokens)
        return cls(vocabulary, with_text, with_tokens, options, seed, active_terms, used, system)

    def __len__(self) -> int:
        return len(self._spoken_items) + self._visits

    def trim(self, vocabulary: TrimmedVocabulary) -> Examples:
        """These examples, drawn in the ids of a trimmed vocabulary from now on."""
        self.spoken.trim(vocabulary)
        self.vocabulary = vocabulary
        # What a corruption learned of the segments, it learned in the ids of before.
        self.__dict__.pop("corrupt", None)
        return self

    @cached_property
    def corrupt(self) -> Corruption:
        """The corruption of the system, as the spoken segments make it."""
        return CORRUPTIONS[self.system.mask_unit](self.vocabulary, self.spoken)

    @cached_property
    def notice(self) -> str:
        """A line about an active term that these segments cannot teach; empty where all can be learned."""
        asked = self.active_terms & PAIR_TASKS[self.system.pair_task]
        why = PAIRS[self.system.pair_task].unlearnable(self) if asked else ""
        return f"{why}; take in more videos, or say --weights {min(asked)}=0" if why else ""

    def order(self, epoch: int) -> np.ndarray:
        """The epoch's permutation of the items: a function of (seed, epoch)."""
        return np.random.default_rng((self.seed, epoch)).permutation(len(self))

    def draw(self, epoch: int, item: int) -> list[Example]:
        """The examples of one item in one epoch, always the same for the same (seed, epoch, item)."""
        if self.system.masking == "static":
            epoch %= STATIC_DRAWINGS
        drawn = self._draw(item, np.random.default_rng((self.seed, epoch, item, 1)))
        drawn = [self._order.read(example) for example in drawn]
        if self._near_tokens is None:
            return drawn
        # Draws of its own: the masks are those of a training without near tokens.
        random = np.random.default_rng((self.seed, epoch, item, 2))
        return [
            self._near_tokens.replace(self.vocabulary, example, random, self.options.near_rate)
            for example in drawn
        ]

    def _draw(self, item: int, random: np.random.Generator) -> list[Example]:
        if item < len(self._spoken_items):
            places = self._spoken_items[item]
            return self._of_group(places, random) if self._full else self._of_spoken(places.start, random)
        visit = item - len(self._spoken_items)
        return [self._of_run(visit % len(self.runs), random)]

    def batch(self, items: Sequence[tuple[int, int]]) -> Batch:
        """The packed examples of some (epoch, item)."""
        return pack([example for epoch, item in items for example in self.draw(epoch, item)])

    def _of_group(self, places: range, random: np.random.Generator) -> list[Example]:
        """Spoken segments that are read together: their words alone, and one after the other with what they show.

        One of several is read by itself too, as questions ask: else all sequences would be long (BERT's authors shorten a
        tenth of theirs for the same reason, Devlin et al. 2019, the code's ``short_seq_prob``).
        """
        read = [(self.spoken.word_ids(place), self.spoken[place]) for place in places]
        one = read[int(random.integers(len(read)))]
        examples = []
        for some in (read, [one]) if len(read) > 1 else (read,):
            if TEXT in self.active_terms:
                words = [word for ids, _ in some for word in ids]
                examples.append(self.masked(words, None, TEXT, random))
            if JOINT in self.active_terms and any(segment.tokens for _, segment in some):
                step = self.step(random)
                parts = [(words, subsampled(step, segment.tokens, random)) for words, segment in some]
                parts = video_first(parts) if self._video_first(random) else parts
                ids, types = chained(self.vocabulary, parts, self.options.longest)
                examples.append(self.hidden(ids, types, JOINT, random))
        if CONTRAST in self.active_terms:
            # Search asks for one segment; those beside it are its hard negatives.
            for words, segment in read:
                examples += self._dual_encoder_pair(words, segment) if segment.tokens else []
        if TASKS in self.active_terms:
            place = places.start + int(random.integers(len(places)))
            examples += tasks.draw(self, Spoken(place, False, *self.read(place, False)), random)
        return examples

    def _of_spoken(self, item: int, random: np.random.Generator) -> list[Example]:
        neighbours = random.random() < self.options.join_neighbours and self.continues(item)
        words, segment = self.read(item, neighbours)
        examples = [self.masked(words, None, TEXT, random)] if TEXT in self.active_terms else []
        if segment.tokens and CONTRAST in self.active_terms:
            examples += self._dual_encoder_pair(words, segment)
            if random.random() < self.options.hard_negative_rate:
                place = self.negatives.hard_negative(
                    segment, lambda place: self.read(place, neighbours)[1], random
                )
                if place is not None:
                    examples += self._dual_encoder_pair(*self.read(place, neighbours))
        if self.active_terms & {JOINT, *PAIR_TASKS[self.system.pair_task]}:
            examples += PAIRS[self.system.pair_task].draw(
                self, Spoken(item, neighbours, words, segment), random
            )
        if TASKS in self.active_terms:
            examples += tasks.draw(self, Spoken(item, neighbours, words, segment), random)
        return examples

    def _dual_encoder_pair(self, words: list[int], segment: Segment) -> list[Example]:
        """The words alone, then the video alone; the label is a digest of what each reads, the same for the same ids."""
        pair = []
        for text, tokens in ((words, None), (None, segment.tokens)):
            ids, types = sequence(self.vocabulary, text, tokens, self.options.longest)
            pair.append(Example(ids, types, {CONTRAST: [(CLS_POSITION, hash(tuple(ids)))]}))
        return pair

    def read(self, item: int, neighbours: bool) -> tuple[list[int], Segment]:
        """A segment and its word-piece ids, together with the one after it where ``neighbours`` and there is one."""
        words, segment = self.spoken.word_ids(item), self.spoken[item]
        if neighbours and self.continues(item):
            return words + self.spoken.word_ids(item + 1), joined(segment, self.spoken[item + 1])
        return words, segment

    def continues(self, item: int) -> bool:
        return item + 1 < len(self.spoken) and self.spoken.video(item + 1) == self.spoken.video(item)

    def masked(
        self,
        words: Sequence[int] | None,
        tokens: Sequence[int] | None,
        term: str,
        random: np.random.Generator,
    ) -> Example:
        longest = self.options.longest
        if words and tokens and self._video_first(random):
            return self.hidden(
                *chained(self.vocabulary, video_first([(words, tokens)]), longest), term, random
            )
        return self.hidden(*sequence(self.vocabulary, words, tokens, longest), term, random)

    def _video_first(self, random: np.random.Generator) -> bool:
        """Whether what is read left to right has the video first: to say what it sees, as after the words to show it."""
        return self.system.left_to_right and random.random() < VIDEO_FIRST_RATE

    def hidden(self, ids: list[int], types: list[int], term: str, random: np.random.Generator) -> Example:
        """A sequence under the system's corruption, with what it asks beside."""
        if self.system.left_to_right:
            return self._asked(Example(ids, types, {term: []}), random)
        share = PREDICTED if self.system.attention == PERMUTATION else self.options.mask
        return self._asked(self.corrupt(self.vocabulary, ids, types, term, random, share, self._used), random)

    def _asked(self, masked: Example, random: np.random.Generator) -> Example:
        """A masked sequence with what is asked beside the masks, in the order in which the system reads it."""
        return self._order.ask(
            EXTRAS[self.system.extra_terms](self.vocabulary, masked, random), self.vocabulary, random
        )

    def step(self, random: np.random.Generator) -> int:
        return int(random.integers(1, self.options.subsample + 1)) if self.options.subsample > 1 else 1

    def _of_run(self, place: int, random: np.random.Generator) -> Example:
        tokens = self.runs[place].tokens
        if len(tokens) > 1 and random.random() < self.options.suffix_rate:
            return self._forecast(place, random)
        if self._full:
            tokens = following_tokens(self.runs, place, self.options.longest - MARKS)
            return self.masked(None, subsampled(self.step(random), tokens, random), VIDEO, random)
        first = int(random.integers(max(1, len(tokens) - 1)))
        crop = tokens[first : first + int(random.integers(2, max(2, len(tokens)) + 1))]
        return self.masked(None, subsampled(self.step(random), crop, random), VIDEO, random)

    def _forecast(self, place: int, random: np.random.Generator) -> Example:
        """Suffix masking of up to one of the :data:`HORIZONS` in a run, after 1 to ``context`` tokens.

        The masked tokens may lie in the runs that follow: where the run's end cut them off, the farthest was masked half as often.
        """
        own, context = len(self.runs[place].tokens), self.options.context
        tokens = following_tokens(self.runs, place, own + max(HORIZONS))
        now = int(random.integers(1, min(own + 1, len(tokens))))
        horizon = min(HORIZONS[int(random.integers(len(HORIZONS)))], len(tokens) - now)
        if context > CONTEXT:
            before = preceding_tokens(self.runs, place, context - now)
            tokens, now = before + tokens, len(before) + now
        first = max(0, now - 1 - int(random.integers(context)))
        if self.system.mask_unit == SENTINELS:
            return tasks.draw_next(self, tokens[first : now + horizon], horizon)
        ids, types = sequence(self.vocabulary, None, tokens[first : now + horizon], self.options.longest)
        if self.system.mask_unit == NOISES:
            return infill_suffix(self.vocabulary, ids, types, VIDEO, horizon)
        return self._asked(mask_suffix(self.vocabulary, ids, types, VIDEO, horizon), random)
