"""Owns evaluation: what the model learned, on videos that it has not seen, each figure with its interval and chance.

Every figure is a mean over questions; its 95 % interval is a bootstrap over videos, since questions about one video
are not independent. Nothing is drawn at random but the strangers of the alignment test, which a seed fixes.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import torch

from multimodal.answers.classify import classify
from multimodal.answers.forecast import distributions
from multimodal.answers.search import Index, alignment, embed
from multimodal.examples import content_places, pack, sequence, unmasked
from multimodal.library import Material
from multimodal.pretraining import Trained
from multimodal.segments import Segment
from multimodal.training import Report
from multimodal.truth import Truth

RESAMPLES = 1000
LEAST_VIDEOS = 3
BATCH = 128


@dataclasses.dataclass(frozen=True)
class Figure:
    """``value`` with its 95 % interval ``[low, high]``, what ``chance`` gives, and over how many questions."""

    value: float
    low: float
    high: float
    chance: float
    n: int


@dataclasses.dataclass
class Answers:
    """The questions of one figure: right or wrong (or a share), the video each is about, what chance would give."""

    right: list[float] = dataclasses.field(default_factory=list)
    video: list[str] = dataclasses.field(default_factory=list)
    chance: list[float] = dataclasses.field(default_factory=list)

    def add(self, video: str, right: float, chance: float) -> None:
        self.right.append(float(right))
        self.video.append(video)
        self.chance.append(float(chance))

    def figure(self, seed: int = 0) -> Figure | None:
        """``None`` where nothing was asked. About fewer than three videos nothing is sure: from 0 to 1."""
        if not self.right:
            return None
        names = sorted(set(self.video))
        sums = np.array(
            [
                [
                    sum(r for r, v in zip(self.right, self.video, strict=True) if v == name),
                    self.video.count(name),
                ]
                for name in names
            ]
        )
        drawn = np.random.default_rng(seed).integers(len(names), size=(RESAMPLES, len(names)))
        totals = sums[drawn].sum(1)
        low, high = np.quantile(totals[:, 0] / totals[:, 1], [0.025, 0.975])
        if len(names) < LEAST_VIDEOS:
            low, high = 0.0, 1.0
        return Figure(
            float(np.mean(self.right)), float(low), float(high), float(np.mean(self.chance)), len(self.right)
        )


def evaluate(
    trained: Trained,
    learned: Sequence[Material],
    held_out: Sequence[Material],
    truth: Truth | None,
    report: Report,
    seed: int = 0,
) -> dict[str, Figure]:
    """All figures on the held-out videos. ``learned`` gives the baselines: what is most frequent where the model learned.

    Chance is a uniform guess, but for cloze and next token, where it is always saying what is most frequent.
    """
    spoken = [s for m in held_out for s in m.spoken() if s.text]
    paired = [s for s in spoken if s.tokens]
    before = [s for m in learned for s in m.spoken() if s.text]
    found: dict[str, Answers] = {}
    stages: list[tuple[str, Callable[[], dict[str, Answers]]]] = [
        ("cloze", lambda: _cloze(trained, paired, before, truth)),
        ("alignment", lambda: _alignment(trained, paired, seed)),
        ("next token", lambda: _next(trained, learned, held_out)),
        ("search", lambda: _search(trained, paired, truth)),
    ]
    if truth is not None:
        stages.append(("verbs and nouns", lambda: _zero_shot(trained, held_out, truth)))
    for done, (name, stage) in enumerate(stages):
        report(done, len(stages), name)
        found |= stage()
    report(len(stages), len(stages), "all figures")
    figures = {name: answers.figure(seed) for name, answers in found.items()}
    return {name: figure for name, figure in figures.items() if figure is not None}


@torch.no_grad()
def _guesses(trained: Trained, inputs: Sequence[tuple[list[int], list[int], int]]) -> torch.Tensor:
    """For each (ids, types, place): the likeliest id at ``place`` when it is masked, among its own modality: [n]."""
    first, found = trained.vocabulary.first_visual, []
    for at in range(0, len(inputs), BATCH):
        some = inputs[at : at + BATCH]
        hidden = [
            unmasked([*ids[:p], trained.vocabulary.mask, *ids[p + 1 :]], types) for ids, types, p in some
        ]
        batch = pack(hidden).to(trained.model.device)
        starts = (batch.lengths_S.cumsum(0) - batch.lengths_S).cpu()
        places = starts + torch.tensor([p for _, _, p in some])
        logits = trained.model.cloze(trained.model.encode(batch)[places.to(batch.ids_T.device)]).float().cpu()
        visual = torch.tensor([ids[p] >= first for ids, _, p in some])
        logits[visual, :first] = -torch.inf
        logits[~visual, first:] = -torch.inf
        found.append(logits.argmax(-1))
    return torch.cat(found) if found else torch.zeros(0, dtype=torch.long)


def _cloze(
    trained: Trained, paired: Sequence[Segment], before: Sequence[Segment], truth: Truth | None
) -> dict[str, Answers]:
    """Each word, and each visual token, masked alone: found with the other modality given and without it."""
    vocabulary = trained.vocabulary
    words = Counter(i for s in before for i in vocabulary.encode(s.text))
    tokens = Counter(vocabulary.first_visual + t for s in before for t in s.tokens)
    usual = {i for counter in (words, tokens) for i, _ in counter.most_common(1)}
    named = {vocabulary.encode(w)[0] for w in (*truth.actions, *truth.things)} if truth else set()
    most = {i for i, _ in Counter({i: n for i, n in words.items() if i in named}).most_common(1)}
    found: dict[str, Answers] = {}
    for other in ("with", "without"):
        questions, about = [], []
        for s in paired:
            text = vocabulary.encode(s.text)
            shapes = [(text, s.tokens)] if other == "with" else [(text, None), (None, s.tokens)]
            for ids, types in (sequence(vocabulary, *shape) for shape in shapes):
                questions += [(ids, types, p) for p in content_places(vocabulary, ids)]
                about += [s.video] * (len(questions) - len(about))
        for (ids, _, place), guess, video in zip(
            questions, _guesses(trained, questions).tolist(), about, strict=True
        ):
            visual = ids[place] >= vocabulary.first_visual
            kind = f"video_cloze_{other}_text" if visual else f"text_cloze_{other}_video"
            found.setdefault(kind, Answers()).add(video, guess == ids[place], ids[place] in usual)
            if ids[place] in named:
                found.setdefault(f"action_and_thing_{kind}", Answers()).add(
                    video, guess == ids[place], ids[place] in most
                )
    return found


def _alignment(trained: Trained, paired: Sequence[Segment], seed: int) -> dict[str, Answers]:
    """Each sentence with its own tokens and with those of a stranger (another video's segment with other tokens)."""
    random, found = np.random.default_rng(seed), Answers()
    strangers = [[o for o in paired if o.video != s.video and o.tokens != s.tokens] for s in paired]
    asked = [
        (s, others[int(random.integers(len(others)))])
        for s, others in zip(paired, strangers, strict=True)
        if others
    ]
    own = alignment(trained, [s.text for s, _ in asked], [s.tokens for s, _ in asked])
    other = alignment(trained, [s.text for s, _ in asked], [o.tokens for _, o in asked])
    for (s, _), yes, no in zip(asked, own, other, strict=True):
        found.add(s.video, yes > 0.5, 0.5)
        found.add(s.video, no <= 0.5, 0.5)
    return {"alignment_accuracy": found}


def _next(trained: Trained, learned: Sequence[Material], held_out: Sequence[Material]) -> dict[str, Answers]:
    """The token of the very next clip, against the most frequent token and a table of which token follows which."""
    counts = Counter(int(t) for m in learned for t in m.tokens)
    follow: dict[int, Counter] = {}
    for m in learned:
        for a, b in zip(m.tokens[:-1].tolist(), m.tokens[1:].tolist(), strict=True):
            follow.setdefault(a, Counter())[b] += 1
    usual = counts.most_common(1)[0][0] if counts else -1
    asked = [
        (m.video.video, m.tokens[:i].tolist(), int(m.tokens[i]))
        for m in held_out
        for i in range(1, len(m.tokens))
    ]
    model, bigram = Answers(), Answers()
    for first in range(0, len(asked), BATCH):
        some = asked[first : first + BATCH]
        guesses = distributions(trained, [c for _, c, _ in some], 1)[:, 0].argmax(-1).tolist()
        for (video, context, token), guess in zip(some, guesses, strict=True):
            model.add(video, guess == token, token == usual)
            known = follow.get(context[-1])
            bigram.add(video, (known.most_common(1)[0][0] if known else usual) == token, token == usual)
    return {"next_token": model, "next_token_bigram_table": bigram}


def _search(trained: Trained, paired: Sequence[Segment], truth: Truth | None) -> dict[str, Answers]:
    """Each held-out sentence looked up by sight alone among the held-out moments: is its own moment in the first k?

    With the truth known, also: does the first moment show the same action and thing?
    """
    if len(paired) < 2:
        return {}
    index = Index(
        trained,
        [""] * len(paired),
        paired,
        embed(trained, texts=[s.text for s in paired]),
        embed(trained, tokens=[s.tokens for s in paired]),
    )
    found: dict[str, Answers] = {}
    for i, s in enumerate(paired):
        order = index.by_sight(s.text).tolist()
        for k in (1, 5, 10):
            found.setdefault(f"search_recall_at_{k}", Answers()).add(
                s.video, i in order[:k], min(1.0, k / len(paired))
            )
        step = truth and truth.at(s.video, s.start, s.end)
        if step:
            others = [truth.at(o.video, o.start, o.end) for o in paired]
            same = [bool(o) and (o.action, o.thing) == (step.action, step.thing) for o in others]
            found.setdefault("search_first_shows_the_same", Answers()).add(
                s.video, same[order[0]], np.mean(same)
            )
    return found


def _zero_shot(trained: Trained, held_out: Sequence[Material], truth: Truth) -> dict[str, Answers]:
    """Verb and noun of each step by the template's blanks, from its tokens and, as the language prior, from none."""
    asked = []
    for m in held_out:
        for s in truth.steps.get(m.video.video, ()):
            middle = m.starts + 0.75
            tokens = m.tokens[(middle >= s.start) & (middle < s.end)].tolist()
            if tokens:
                asked.append((m.video.video, s, tokens))
    found: dict[str, Answers] = {}
    for suffix, given in (("", [t for _, _, t in asked]), ("_without_video", [[] for _ in asked])):
        verbs, nouns = (
            classify(trained, given, truth.actions, truth.things)
            if asked
            else (torch.zeros(0, 1), torch.zeros(0, 1))
        )
        for (video, step, _), verb, noun in zip(
            asked, verbs.argmax(-1).tolist(), nouns.argmax(-1).tolist(), strict=True
        ):
            found.setdefault(f"verb_zero_shot{suffix}", Answers()).add(
                video, truth.actions[verb] == step.action, 1 / len(truth.actions)
            )
            found.setdefault(f"noun_zero_shot{suffix}", Answers()).add(
                video, truth.things[noun] == step.thing, 1 / len(truth.things)
            )
    return found
