"""The process of the known world: a hidden Markov model over dish, style and step that emits visual tokens and sentences.

A video has a dish and a style, both hidden. Its clips are in steps, pairs of an action and a thing, which follow one another
as the dish has them and last several clips. Each clip shows a visual token: of the thing, of the action, or of the
background; which one of several, the style decides. A sentence lasts some clips and speaks of the step of the first of
them, of another step of the dish, of anything, or of nothing.
The chain of steps starts stationary, and where sentences lie does not depend on what is hidden. So what is known of a
segment before it is read does not depend on its place, and the best answers can be worked out exactly
(:mod:`multimodal.known_world.inference`).

Shapes: D dishes, C styles, K steps of a dish, A actions, O things, V visual tokens.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from multimodal.known_world import narration
from multimodal.store import InputError

SYNONYMS = (0.6, 0.3, 0.1)
"""Shares of the words for an action or a thing, the usual one first."""
TOLERANCE = 1e-6


@dataclasses.dataclass(frozen=True)
class WorldOptions:
    """The size of a known world, and how much is said and shown in it. Rates are probabilities from 0 to 1.

    ``signal``: the rate at which a sentence that speaks of a step speaks of this video at all; else it is one of any video.
    At 0 words and pictures say nothing of each other; what is said and what is shown are alike at every strength.
    ``elsewhere``: the rate at which a sentence of this video speaks of any of its dish's steps. ``chatter``: of sentences
    about no step. ``it``: of "it" for the thing. ``stay``: the chance that a step goes on in the next clip; ``follow``:
    that the step after it is the next of the dish. ``shows_thing`` and ``shows_action``: the shares of the clips that show
    one or the other, the others show the background. ``confused``: the rate of a token of another thing or action.
    ``usual``: the share of the style's own one among the ``variants`` of a thing or action.
    Raises :class:`InputError` for a value out of its range.
    """

    dishes: int = 12
    styles: int = 6
    steps: int = 8
    actions: int = 14
    things: int = 24
    variants: int = 3
    backgrounds: int = 30
    stay: float = 0.75
    follow: float = 0.9
    shows_thing: float = 0.55
    shows_action: float = 0.2
    confused: float = 0.1
    usual: float = 0.85
    signal: float = 1.0
    elsewhere: float = 0.15
    chatter: float = 0.15
    it: float = 0.25
    clips: tuple[int, int] = (32, 64)
    sentence_clips: tuple[int, int] = (1, 5)
    gap_clips: tuple[int, int] = (0, 4)
    seed: int = 0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and not 0 <= value <= 1:
                raise InputError(f"{field.name} {value:g}: from 0 to 1; it is a probability")
        if self.shows_thing + self.shows_action > 1:
            raise InputError(
                f"shows_thing {self.shows_thing:g} and shows_action {self.shows_action:g}: at most 1 together; lower one"
            )
        most = {"actions": len(narration.ACTIONS), "things": len(narration.THINGS)}
        for name in ("dishes", "styles", "steps", "actions", "things", "variants", "backgrounds"):
            value, limit = getattr(self, name), most.get(name, 1000)
            if not 1 <= value <= limit:
                raise InputError(f"{name} {value}: from 1 to {limit}")
        if self.steps > (most_steps := self.actions * self.things_of_dish):
            raise InputError(f"steps {self.steps}: a dish has at most {most_steps} pairs here; lower it")

    @property
    def things_of_dish(self) -> int:
        """Half as many as steps, as far as there are."""
        return min(self.things, (self.steps + 1) // 2)


@dataclasses.dataclass(frozen=True)
class Template:
    """A form of sentence: its ``share``, and its ``slots``: ACTION, THING, a name of ``fillers``, or a word."""

    share: float
    slots: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class World:
    """All parameters of a world. Arrays are float64, the last axis sums to 1; ``action_DK`` and ``thing_DK`` are int64.

    ``emission_CAOV`` is not stored: it is the mixture of ``thing_COV``, ``action_CAV`` and ``background_CV``, by
    ``shows`` (thing, action, background). ``action_words`` and ``thing_words`` give the words for each with their shares.
    Raises :class:`InputError` where the shapes do not fit or a row is no distribution.
    """

    dish_D: np.ndarray
    style_C: np.ndarray
    action_DK: np.ndarray
    thing_DK: np.ndarray
    transition_DKK: np.ndarray
    shows: np.ndarray
    thing_COV: np.ndarray
    action_CAV: np.ndarray
    background_CV: np.ndarray
    action_words: tuple[Mapping[str, float], ...]
    thing_words: tuple[Mapping[str, float], ...]
    fillers: Mapping[str, Mapping[str, float]]
    step_templates: tuple[Template, ...]
    chatter_templates: tuple[Template, ...]
    signal: float
    elsewhere: float
    chatter: float
    clips: tuple[int, int]
    sentence_clips: tuple[int, int]
    gap_clips: tuple[int, int]

    def __post_init__(self) -> None:
        dishes, styles, steps = len(self.dish_D), len(self.style_C), self.action_DK.shape[-1]
        tokens, actions, things = self.background_CV.shape[-1], len(self.action_words), len(self.thing_words)
        shapes = {
            "dish_D": (dishes,), "style_C": (styles,), "action_DK": (dishes, steps), "thing_DK": (dishes, steps),
            "transition_DKK": (dishes, steps, steps), "shows": (3,), "thing_COV": (styles, things, tokens),
            "action_CAV": (styles, actions, tokens), "background_CV": (styles, tokens),
        }  # fmt: skip
        for name, shape in shapes.items():
            values = getattr(self, name)
            if values.shape != shape:
                raise InputError(f"{name}: has the shape {values.shape}; it must be {shape}")
            if name in ("action_DK", "thing_DK"):
                most = actions if name == "action_DK" else things
                if values.min() < 0 or values.max() >= most:
                    raise InputError(f"{name}: its numbers must be from 0 to {most - 1}")
            elif not _is_distribution(values):
                raise InputError(f"{name}: each row must be probabilities whose sum is 1")
        for name in ("action_words", "thing_words"):
            if not all(_is_distribution(np.array(list(words.values()))) for words in getattr(self, name)):
                raise InputError(f"{name}: the shares of the words must have the sum 1")

    @property
    def dishes(self) -> int:
        return len(self.dish_D)

    @property
    def styles(self) -> int:
        return len(self.style_C)

    @property
    def steps(self) -> int:
        """K, the steps of each dish."""
        return self.action_DK.shape[1]

    @property
    def visual(self) -> int:
        """V, the number of visual tokens."""
        return self.background_CV.shape[1]

    def stationary_DK(self) -> np.ndarray:
        """float64 [D, K]: how often each step of a dish is shown."""
        system_DKK = np.swapaxes(self.transition_DKK, 1, 2) - np.eye(self.steps)
        # one equation of the balance is redundant; the sum takes its place
        system_DKK[:, -1] = 1
        right_DK1 = np.zeros((self.dishes, self.steps, 1))
        right_DK1[:, -1] = 1
        return np.clip(np.linalg.solve(system_DKK, right_DK1)[..., 0], 0, None)

    def emission_DCKV(self) -> np.ndarray:
        """float64 [D, C, K, V]: the visual tokens that a clip of a step shows in a style."""
        thing_CDKV, action_CDKV = self.thing_COV[:, self.thing_DK], self.action_CAV[:, self.action_DK]
        background_CV = self.background_CV[:, None, None]
        mixed = self.shows[0] * thing_CDKV + self.shows[1] * action_CDKV + self.shows[2] * background_CV
        return np.swapaxes(mixed, 0, 1)


def _is_distribution(values: np.ndarray) -> bool:
    return bool((values >= 0).all() and np.abs(values.sum(-1) - 1).max() < TOLERANCE)


def make_world(options: WorldOptions) -> World:
    """A world of this size, whose tables are drawn by the seed."""
    random = np.random.default_rng(options.seed)
    action_DK, thing_DK = _dishes(options, random)
    first_action = options.things * options.variants
    first_background = first_action + options.actions * options.variants
    visual = first_background + options.backgrounds
    background_CV = np.zeros((options.styles, visual))
    background_CV[:, first_background:] = random.dirichlet(
        np.full(options.backgrounds, 0.3), size=options.styles
    )
    naming = [Template((1 - options.it) * p, tuple(text.split())) for p, text in narration.NAMING]
    with_it = [Template(options.it * p, tuple(text.split())) for p, text in narration.WITH_IT]
    return World(
        dish_D=random.dirichlet(np.full(options.dishes, 10.0)),
        style_C=random.dirichlet(np.full(options.styles, 10.0)),
        action_DK=action_DK,
        thing_DK=thing_DK,
        transition_DKK=_transitions(options, random),
        shows=np.array(
            [
                options.shows_thing,
                options.shows_action,
                1 - options.shows_thing - options.shows_action,
            ]
        ),
        thing_COV=_looks(options, options.things, 0, visual, random),
        action_CAV=_looks(options, options.actions, first_action, visual, random),
        background_CV=background_CV,
        action_words=tuple(_synonyms(words) for words in narration.ACTIONS[: options.actions]),
        thing_words=tuple(_synonyms(words) for words in narration.THINGS[: options.things]),
        fillers={name: _fillers(words) for name, words in narration.FILLERS.items()},
        step_templates=(*naming, *with_it),
        chatter_templates=tuple(Template(p, tuple(text.split())) for p, text in narration.CHATTER),
        **{
            name: getattr(options, name)
            for name in ("signal", "elsewhere", "chatter", "clips", "sentence_clips", "gap_clips")
        },
    )


def _dishes(options: WorldOptions, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """int64 [D, K] each: the actions and the things of the steps of each dish, in different pairs."""
    actions, things = [], []
    for _ in range(options.dishes):
        own = random.choice(options.things, size=options.things_of_dish, replace=False)
        pairs = random.choice(options.actions * len(own), size=options.steps, replace=False)
        actions.append(pairs % options.actions)
        things.append(own[pairs // options.actions])
    return np.array(actions), np.array(things)


def _transitions(options: WorldOptions, random: np.random.Generator) -> np.ndarray:
    """float64 [D, K, K]: a step goes on, is followed by the next of the dish, or by any other."""
    count = options.steps
    if count == 1:
        return np.ones((options.dishes, 1, 1))
    # some steps last longer than others
    leave_DK1 = (1 - options.stay) * random.uniform(0.5, 1.5, size=(options.dishes, count, 1)).clip(0, 1)
    others_KK = (1 - np.eye(count)) * (1 - options.follow) / (count - 1)
    others_KK[np.arange(count), (np.arange(count) + 1) % count] += options.follow
    return leave_DK1 * others_KK + (1 - leave_DK1) * np.eye(count)


def _looks(
    options: WorldOptions, count: int, first: int, visual: int, random: np.random.Generator
) -> np.ndarray:
    """float64 [C, count, V]: the tokens of things or actions in each style, those of the neighbours where confused."""
    variants = options.variants
    shares = np.full(variants, (1 - options.usual) / max(1, variants - 1))
    shares[0] = options.usual if variants > 1 else 1.0
    looks = np.zeros((options.styles, count, visual))
    for style in range(options.styles):
        for what in range(count):
            own = first + what * variants + random.permutation(variants)
            looks[style, what, own] = shares
    confused = options.confused if count > 1 else 0.0
    beside = (np.roll(looks, 1, 1) + np.roll(looks, -1, 1)) / 2
    return (1 - confused) * looks + confused * beside


def _synonyms(words: str) -> dict[str, float]:
    names = words.split()
    shares = np.array(SYNONYMS[: len(names)])
    return dict(zip(names, (shares / shares.sum()).tolist(), strict=True))


def _fillers(words: str) -> dict[str, float]:
    """Shares that fall as Zipf's law has it."""
    names = words.split()
    shares = 1 / np.arange(1, len(names) + 1)
    return dict(zip(names, (shares / shares.sum()).tolist(), strict=True))


@dataclasses.dataclass(frozen=True)
class Sentence:
    """``words`` said during ``count`` clips from clip ``first`` on."""

    first: int
    count: int
    words: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class SampledVideo:
    """A video of the world: what is hidden (``dish``, ``style``, ``steps`` by clip), what is seen, what is heard."""

    dish: int
    style: int
    steps: tuple[int, ...]
    tokens: tuple[int, ...]
    sentences: tuple[Sentence, ...]


class Sampler:
    """Draws videos of a world. A video is a function of the seed and its number, so a small corpus begins a large one."""

    def __init__(self, world: World, seed: int = 0):
        self.world, self.seed = world, seed
        self._stationary_DK, self._emission_DCKV = world.stationary_DK(), world.emission_DCKV()

    def video(self, number: int) -> SampledVideo:
        world, random = self.world, np.random.default_rng((self.seed, number))
        dish, style = _draw(world.dish_D, random), _draw(world.style_C, random)
        clips = int(random.integers(world.clips[0], world.clips[1] + 1))
        steps = [_draw(self._stationary_DK[dish], random)]
        while len(steps) < clips:
            steps.append(_draw(world.transition_DKK[dish, steps[-1]], random))
        tokens = tuple(_draw(self._emission_DCKV[dish, style, step], random) for step in steps)
        sentences, clip = [], int(random.integers(world.gap_clips[0], world.gap_clips[1] + 1))
        while True:
            count = int(random.integers(world.sentence_clips[0], world.sentence_clips[1] + 1))
            if clip + count > clips:
                break
            sentences.append(Sentence(clip, count, self._sentence(dish, steps[clip], random)))
            clip += count + int(random.integers(world.gap_clips[0], world.gap_clips[1] + 1))
        return SampledVideo(dish, style, tuple(steps), tokens, tuple(sentences))

    def _sentence(self, dish: int, step: int, random: np.random.Generator) -> tuple[str, ...]:
        world = self.world
        templates = world.step_templates
        if random.random() < world.chatter:
            templates = world.chatter_templates
        elif random.random() >= world.signal:
            dish = _draw(world.dish_D, random)
            step = _draw(self._stationary_DK[dish], random)
        elif random.random() < world.elsewhere:
            step = _draw(self._stationary_DK[dish], random)
        template = templates[_draw(np.array([t.share for t in templates]), random)]
        own = {
            "ACTION": world.action_words[world.action_DK[dish, step]],
            "THING": world.thing_words[world.thing_DK[dish, step]],
        }
        return tuple(_word(slot, own, world.fillers, random) for slot in template.slots)


def _draw(shares: np.ndarray, random: np.random.Generator) -> int:
    """An index by its share. The sum may round to less than 1, and the random number fall beyond it."""
    place = int(np.searchsorted(np.cumsum(shares), random.random(), side="right"))
    return min(place, int(np.flatnonzero(shares)[-1]))


def _word(
    slot: str,
    own: Mapping[str, Mapping[str, float]],
    fillers: Mapping[str, Mapping[str, float]],
    random: np.random.Generator,
) -> str:
    words = own.get(slot) or fillers.get(slot)
    if words is None:
        return slot
    names: Sequence[str] = list(words)
    return names[_draw(np.array(list(words.values())), random)]
