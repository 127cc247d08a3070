"""Names of visual tokens: the words said while a token is shown, where they are said more often than chance gives.

A visual token is a number; a name of one or two words tells a person what it stands for. Names are computed when the
index is updated and kept beside it, so that an answer reads one small file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from multimodal.answers.index import address, made_of
from multimodal.catalogue import Video
from multimodal.library import read_material
from multimodal.store import DamagedFile, Store, canonical_json, reading, recipe, write_artefact
from multimodal.sums import sum_file

if TYPE_CHECKING:
    from multimodal.inference.trained import Trained

VERSION = 1
FILE = "token_names.json"
WORDS = 2
"""Words of a name at most."""
LEAST_MOMENTS = 3
"""A word names a token only where it is said in at least this many of the moments that show the token."""
LEAST_G2 = 10.83
"""The log-likelihood ratio of word and token (Dunning 1993) that chance alone reaches once in a thousand (χ², one degree
of freedom)."""
MOST_MOMENTS = 100_000
"""Moments that are counted at most. They are of whole videos, in the order of their digests, which is a random one."""
STOP_WORDS = frozenset(
    # articles, pronouns, question words
    "a an the this that these those such same other another each every both all any some no none one i me my mine myself "
    "we us our ours you your yours yourself he him his she her hers it its itself they them their theirs who whom whose "
    "which what when where why how there here something anything nothing everything someone anyone everyone "
    # verbs that help others, and what is left of contractions
    "am is are was were be been being do does did doing done have has had having can could will would shall should may "
    "might must ought let lets get gets got getting go goes going gone gonna wanna ll re ve don isn aren wasn doesn didn "
    "won wouldn couldn shouldn haven hasn hadn ain "
    # prepositions and conjunctions
    "about above after again against along around as at before behind below beside between but by down during for from "
    "if in inside into like near of off on onto or and nor out outside over past since so than then through till to "
    "toward towards under until up upon with within without while because though although whether "
    # adverbs and the words that fill pauses
    "not now just also too very really quite only even still yet already once ever never always often well maybe much "
    "many more most less least few lot little bit kind sort okay ok oh um uh yeah yes hey right".split()
)
"""English words that say nothing of what is shown."""
_WORD = re.compile(r"[^\W\d_]{2,}")


def content_words(text: str) -> list[str]:
    """The words of ``text`` in small letters, of two letters or more, without the stop words."""
    return [word for word in _WORD.findall(text.lower()) if word not in STOP_WORDS]


def telling_words(moments: Iterable[tuple[Collection[int], str]]) -> dict[int, tuple[str, ...]]:
    """The words that name each visual token, the most telling first; a token without such a word is left out.

    ``moments``: the visual tokens that a moment shows and the text that is said in it. The unit of counting is the moment.
    A word names a token where the two come together in at least :data:`LEAST_MOMENTS` moments, more often than
    independent ones would, and the log-likelihood ratio G² of their 2 × 2 table exceeds :data:`LEAST_G2`.
    """
    numbers: dict[str, int] = {}
    total, tokens, words = 0, [], []
    for shown, text in moments:
        said = {numbers.setdefault(word, len(numbers)) for word in content_words(text)}
        total += 1
        # one row for each pair of a token and a word, −1 standing for "any"
        for token in (-1, *set(shown)):
            tokens += [token] * (len(said) + 1)
            words += [-1, *said]
    # Pairs as single integers, so that numpy counts them: millions of pairs as keys of a dict would fill the memory.
    width = len(numbers) + 1
    pairs, counts = np.unique(
        (np.array(tokens, np.int64) + 1) * width + np.array(words, np.int64) + 1, return_counts=True
    )
    token_P, word_P = np.divmod(pairs, width)
    with_token, with_word = np.zeros(int(token_P.max(initial=0)) + 1), np.zeros(width)
    with_token[token_P[word_P == 0]] = counts[word_P == 0]
    with_word[word_P[token_P == 0]] = counts[token_P == 0]
    both = (token_P > 0) & (word_P > 0) & (counts >= LEAST_MOMENTS)
    token_P, word_P, count_P = token_P[both], word_P[both], counts[both].astype(float)
    g2_P = log_likelihood_ratio(count_P, with_token[token_P], with_word[word_P], total)
    above = (g2_P > LEAST_G2) & (count_P * total > with_token[token_P] * with_word[word_P])
    spelled = list(numbers)
    found: dict[int, list[str]] = {}
    # equals go by the alphabet, so that the same corpus gives the same names
    for _, word, token in sorted(
        (-g2_P[i], spelled[word_P[i] - 1], int(token_P[i]) - 1) for i in np.flatnonzero(above)
    ):
        if len(found.setdefault(token, [])) < WORDS:
            found[token].append(word)
    return {token: tuple(found[token]) for token in sorted(found)}


def log_likelihood_ratio(
    both_P: np.ndarray, first_P: np.ndarray, second_P: np.ndarray, total: int
) -> np.ndarray:
    """float64 [P]: G² = 2 Σ O ln(O / E) of 2 × 2 tables.

    ``both_P``: moments with both events; ``first_P`` and ``second_P``: moments with each of them; ``total``: all moments.
    """
    observed = np.stack([both_P, first_P - both_P, second_P - both_P, total - first_P - second_P + both_P])
    expected = np.stack([first_P * second_P, first_P * (total - second_P), (total - first_P) * second_P,
                         (total - first_P) * (total - second_P)]) / total  # fmt: skip
    ratio = np.divide(observed, expected, out=np.ones_like(observed), where=observed > 0)
    return 2 * (observed * np.log(ratio)).sum(0)


def update_token_names(store: Store, trained: Trained, videos: Sequence[Video]) -> None:
    """Computes the names of the codebook's tokens from ``videos``, those that it was fitted on, and stores them.

    Nothing is done where the stored ones were made from the same transcripts and features. The caller holds the store.
    """
    videos = sorted((v for v in videos if v.clips and v.sentences), key=lambda v: v.video)
    made = recipe(version=VERSION, codebook=trained.codebook, videos=[made_of(v) for v in videos])
    path = _path(store, trained)
    if _read(path).get("made") == made:
        return
    moments: list[tuple[Collection[int], str]] = []
    for video in videos:
        if len(moments) >= MOST_MOMENTS:
            break
        spoken = read_material(store, trained.codebook, video).spoken()
        moments += [(s.tokens, s.text) for s in spoken if s.tokens]
    names = {str(token): ", ".join(words) for token, words in telling_words(moments).items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_artefact(path, canonical_json({"made": made, "names": names}).encode())


def read_token_names(store: Store, trained: Trained) -> dict[int, str]:
    """The stored name of each visual token that has one, such as "onion, season"; empty where none were computed yet."""
    return {int(token): name for token, name in _read(_path(store, trained)).get("names", {}).items()}


def remove_token_names(store: Store) -> None:
    """Deletes the names: a video that they were counted from is removed. The next update of the index makes them again."""
    for path in store.caches.glob(f"*/{FILE}"):
        path.unlink()
        sum_file(path).unlink(missing_ok=True)


def _path(store: Store, trained: Trained) -> Path:
    return store.cache(address(trained)) / FILE


def _read(path: Path) -> dict[str, Any]:
    """The stored document; empty where there is none that can be read: it is made again, as the cache beside it is."""
    try:
        with reading(path):
            return json.loads(path.read_text(encoding="utf-8"))
    except DamagedFile:
        return {}
