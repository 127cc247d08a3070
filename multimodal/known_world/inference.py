"""The best possible answers about a known world: exact posteriors by the forward-backward algorithm (Rabiner 1989).

Each answer is given what a model is given and no more: a segment's words and visual tokens but the hidden one, or the clips
of a video so far. Dish, style and the steps are summed over. The parameters are known, nothing is learned.

Shapes: D dishes, C styles, K steps of a dish, W words, V visual tokens, L sentences, M segments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from multimodal.known_world.process import Template, World
from multimodal.store import InputError


class BestAnswers:
    """Posteriors in a world. ``words`` are all words of its narrators, in the order of the columns of :meth:`hidden_word`.

    Methods raise :class:`InputError` for words, tokens or sequences that this world does not make.
    """

    def __init__(self, world: World):
        self.world = world
        self.words = tuple(sorted(_all_words(world)))
        self._place = {word: n for n, word in enumerate(self.words)}
        stationary_DK = world.stationary_DK()
        dish_style_DC = world.dish_D[:, None] * world.style_C
        self._prior_DCK = dish_style_DC[:, :, None] * stationary_DK[:, None]
        self._prior_DK = self._prior_DCK.sum(1)
        self._transition_DKK = world.transition_DKK
        self._back_DKK = np.swapaxes(world.transition_DKK, 1, 2)
        emission_DCKV = world.emission_DCKV()
        self._emission_ZV = emission_DCKV.reshape(-1, world.visual)
        # the token first, so that the table of a token is in one piece
        self._emission_VDCK = np.ascontiguousarray(np.moveaxis(emission_DCKV, -1, 0))
        self._topics_NN = self._topics(stationary_DK)
        action_AW, thing_OW = self._table(world.action_words), self._table(world.thing_words)
        self._slots: dict[str, np.ndarray] = {
            name: self._table([words]) for name, words in world.fillers.items()
        }
        self._slots["ACTION"] = action_AW[world.action_DK.reshape(-1)]
        self._slots["THING"] = thing_OW[world.thing_DK.reshape(-1)]

    def _topics(self, stationary_DK: np.ndarray) -> np.ndarray:
        """float64 [D·K, D·K]: the step that a sentence about a step speaks of, by the step that is shown."""
        world, count = self.world, self.world.dishes * self.world.steps
        same_dish_NN = np.kron(np.eye(world.dishes), np.ones((world.steps, world.steps)))
        of_dish_NN = same_dish_NN * stationary_DK.reshape(1, -1)
        any_N = (world.dish_D[:, None] * stationary_DK).reshape(1, -1)
        linked_NN = (1 - world.elsewhere) * np.eye(count) + world.elsewhere * of_dish_NN
        return world.signal * linked_NN + (1 - world.signal) * any_N

    def _table(self, shares: Sequence[Mapping[str, float]]) -> np.ndarray:
        """float64 [n, W]."""
        table = np.zeros((len(shares), len(self.words)))
        for row, words in enumerate(shares):
            for word, share in words.items():
                table[row, self._place[word]] = share
        return table

    # sentences

    def hidden_word(
        self, words: Sequence[str], place: int, tokens: Sequence[int] | None = None
    ) -> np.ndarray:
        """float64 [W]: the probability of each word at a ``place`` of a sentence, given its other words and, where there
        are any, the visual ``tokens`` shown meanwhile."""
        state_DK = self._prior_DK
        if tokens:
            state_DK = (self._prior_DCK * self._shown(tokens)[0]).sum(1)
        return self._normalised(state_DK.reshape(-1) @ self._said(words, place), words)

    def likeliest_sentence(self, tokens: Sequence[int]) -> tuple[str, ...]:
        """The words that are most probable while visual ``tokens`` are shown, of the likeliest sentence of each template."""
        state_DK = (self._prior_DCK * self._shown(tokens)[0]).sum(1)
        step_N = self._normalised(state_DK.reshape(-1), tokens)
        told_N = step_N @ self._topics_NN
        candidates = []
        for template in (*self.world.step_templates, *self.world.chatter_templates):
            tables = [self._slot(slot) for slot in template.slots]
            # what speaks of the step is chosen together, a filler by itself
            of_step = [n for n, table in enumerate(tables) if len(table) > 1]
            words = [int(table[0].argmax()) for table in tables]
            if of_step:
                letters = "abcdefghijklm"[: len(of_step)]
                joint = np.einsum(
                    f"n,{','.join('n' + letter for letter in letters)}->{letters}",
                    told_N, *(tables[n] for n in of_step),
                )  # fmt: skip
                for n, word in zip(of_step, np.unravel_index(joint.argmax(), joint.shape), strict=True):
                    words[n] = int(word)
            candidates.append(tuple(self.words[word] for word in words))
        return max(candidates, key=lambda words: float(step_N @ self._said(words)[:, 0]))

    def _said(self, words: Sequence[str], hidden: int | None = None) -> np.ndarray:
        """float64 [D·K, W]: the probability of a sentence with each word at the ``hidden`` place, by the step at its first
        clip; [D·K, 1] where none is hidden."""
        world = self.world
        known = [None if n == hidden else self._number(word) for n, word in enumerate(words)]
        steps_NW = self._of_templates(world.step_templates, known)
        chatter_NW = self._of_templates(world.chatter_templates, known)
        return (1 - world.chatter) * (self._topics_NN @ steps_NW) + world.chatter * chatter_NW

    def _number(self, word: str) -> int:
        if word not in self._place:
            raise InputError(
                f"--world: nobody says {word[:40]!r} in it; give the world that made the library"
            )
        return self._place[word]

    def _of_templates(self, templates: Sequence[Template], known: Sequence[int | None]) -> np.ndarray:
        """float64 [D·K, W or 1]: the probability of the ``known`` words by what a sentence speaks of."""
        width = len(self.words) if None in known else 1
        total = np.zeros((self.world.dishes * self.world.steps, width))
        for template in templates:
            if len(template.slots) != len(known):
                continue
            found: np.ndarray | float = template.share
            for slot, number in zip(template.slots, known, strict=True):
                table = self._slot(slot)
                found = found * (table if number is None else table[:, number : number + 1])
            total += found
        return total

    def _slot(self, slot: str) -> np.ndarray:
        """float64 [D·K or 1, W]: the words that a slot takes."""
        return self._slots[slot] if slot in self._slots else self._table([{slot: 1.0}])

    # visual tokens

    def hidden_token(
        self, tokens: Sequence[int], place: int, words: Sequence[str] | None = None
    ) -> np.ndarray:
        """float64 [V]: the probability of each token at a ``place`` of a segment, given its other tokens and, where there
        are any, the ``words`` said meanwhile."""
        start_DCK = self._prior_DCK
        if words:
            said_DK = self._said(words).reshape(self._prior_DK.shape)
            start_DCK = start_DCK * said_DK[:, None]
        state_DCK = self._after(start_DCK, tokens[:place])
        if tokens[place + 1 :]:
            state_DCK = state_DCK * (self._shown(tokens[place + 1 :])[0] @ self._back_DKK)
        return self._normalised(state_DCK.reshape(-1) @ self._emission_ZV, tokens)

    def next_tokens(self, so_far: Sequence[int], ahead: Sequence[int]) -> np.ndarray:
        """float64 [ahead, V]: the probability of each token so many clips after those ``so_far`` of a video."""
        state_DCK, found = self._after(self._prior_DCK, so_far), {}
        for distance in range(1, max(ahead) + 1):
            if distance in ahead:
                found[distance] = self._normalised(state_DCK.reshape(-1) @ self._emission_ZV, so_far)
            state_DCK = state_DCK @ self._transition_DKK
        return np.stack([found[distance] for distance in ahead])

    def _after(self, start_DCK: np.ndarray, tokens: Sequence[int]) -> np.ndarray:
        """float64 [D, C, K]: the state of the clip after ``tokens``, of which the first is in ``start_DCK``; up to a factor."""
        state_DCK = start_DCK
        for token in tokens:
            state_DCK = state_DCK * self._emission(token)
            # a long video's probability would be rounded to 0
            state_DCK = state_DCK / max(state_DCK.sum(), np.finfo(float).tiny)
            state_DCK = state_DCK @ self._transition_DKK
        return state_DCK

    def _shown(self, tokens: Sequence[int]) -> tuple[np.ndarray, float]:
        """float64 [D, C, K]: the probability of ``tokens`` by the state of the first of them, over e to a power; the power."""
        power = 0.0
        found_DCK = np.ones_like(self._prior_DCK)
        for n, token in enumerate(reversed(tokens)):
            if n:
                found_DCK = found_DCK @ self._back_DKK
            found_DCK = found_DCK * self._emission(token)
            scale = max(found_DCK.max(), np.finfo(float).tiny)
            found_DCK, power = found_DCK / scale, power + float(np.log(scale))
        return found_DCK, power

    def _emission(self, token: int) -> np.ndarray:
        if not 0 <= token < self.world.visual:
            raise InputError(
                f"--world: has {self.world.visual} visual tokens, not {token}; give the world that made the library"
            )
        return self._emission_VDCK[token]

    # both

    def log_likelihoods(
        self, texts: Sequence[Sequence[str]], runs: Sequence[Sequence[int]]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """float64 [L, M], [L] and [M]: log p of each text and each run of tokens as one segment, and of each alone.

        Aligned pairs are drawn from the first, misaligned ones from the product of the others: their ratio is what tells
        them apart best (Neyman and Pearson 1933).
        """
        said_LN = np.stack([self._said(words)[:, 0] for words in texts])
        shown = [self._shown(tokens) for tokens in runs]
        joint_MN = np.stack([(self._prior_DCK * found).sum(1).reshape(-1) for found, _ in shown])
        power_M = np.array([power for _, power in shown])
        with np.errstate(divide="ignore"):
            both_LM = np.log(said_LN @ joint_MN.T) + power_M
            text_L, run_M = np.log(said_LN @ self._prior_DK.reshape(-1)), np.log(joint_MN.sum(1)) + power_M
        for values, given in ((text_L, texts), (run_M, runs)):
            for n in np.flatnonzero(~np.isfinite(values)):
                raise _impossible(given[n])
        return both_LM, text_L, run_M

    def _normalised(self, shares: np.ndarray, given: Sequence[object]) -> np.ndarray:
        total = shares.sum()
        if not total > 0:
            raise _impossible(given)
        return shares / total


def _impossible(given: Sequence[object]) -> InputError:
    shown = " ".join(map(str, given))
    return InputError(f"--world: cannot make {shown[:80]!r}; give the world that made the library")


def _all_words(world: World) -> set[str]:
    shares = (*world.action_words, *world.thing_words, *world.fillers.values())
    found = {word for words in shares for word in words}
    for template in (*world.step_templates, *world.chatter_templates):
        found |= set(template.slots) - {"ACTION", "THING", *world.fillers}
    return found
