"""Owns what is done in each video, in which order, and the sentence that tells it.

Every (action, thing) pair has its place on one ring: for each thing in turn half of its actions in that
thing's own order, then, going round again, the other half. A recipe is a stretch of the ring, so the next
step follows from this one, while over many recipes all pairs come equally often.
"""

from dataclasses import dataclass

import numpy as np

STEPS_PER_VIDEO = 6
HELDOUT_EVERY = 4

SENTENCES = (
    "Now {action} the {thing} just like this.",
    "Next we are going to {action} the {thing}.",
    "Go ahead and {action} the {thing} for a moment.",
    "Take your {thing} and {action} it with care.",
    "After that, you want to {action} the {thing}.",
    "Here is the {thing}, and now we will {action} it.",
    "Then simply {action} the {thing} until it looks right.",
    "With the {thing} in front of you, {action} it gently.",
    "Watch me {action} the {thing} right here.",
    "The {thing} is ready, so let us {action} it now.",
    "All right, it is time to {action} the {thing}.",
    "I like to {action} the {thing} a little at this point.",
    "So {action} the {thing}, and take your time.",
    "Bring the {thing} closer and {action} it slowly.",
    "Let us {action} the {thing} before we go on.",
    "This is the {thing} that we want to {action} today.",
)


@dataclass(frozen=True)
class PlannedStep:
    """One step of a recipe before it is spoken and filmed."""

    action: str
    thing: str
    sentence: str


@dataclass(frozen=True)
class Recipe:
    """One video to be: its steps in order and whether it is kept out of training."""

    split: str
    steps: tuple[PlannedStep, ...]


def ring(actions: list[str], things: list[str], seed: int) -> list[tuple[str, str]]:
    """All pairs in the order in which they follow one another; the last is followed by the first."""
    rng = np.random.default_rng([seed, 1])
    orders = {thing: [actions[i] for i in rng.permutation(len(actions))] for thing in things}
    half = (len(actions) + 1) // 2
    return [
        (action, thing)
        for part in (slice(0, half), slice(half, None))
        for thing in things
        for action in orders[thing][part]
    ]


def recipes(actions: list[str], things: list[str], videos: int, seed: int) -> list[Recipe]:
    """The recipes, starting evenly round the ring; every fourth start is held out, then all are shuffled."""
    pairs = ring(actions, things, seed)
    rng = np.random.default_rng([seed, 2])
    made = []
    for number in range(videos):
        start = number * len(pairs) // videos
        wordings = rng.permutation(len(SENTENCES))
        steps = tuple(
            PlannedStep(action, thing, SENTENCES[wording].format(action=action, thing=thing))
            for wording, (action, thing) in zip(
                wordings[:STEPS_PER_VIDEO],
                (pairs[(start + k) % len(pairs)] for k in range(STEPS_PER_VIDEO)),
                strict=True,
            )
        )
        made.append(Recipe("train" if number % HELDOUT_EVERY else "heldout", steps))
    return [made[i] for i in rng.permutation(videos)]
