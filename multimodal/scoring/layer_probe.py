"""What each layer of a model knows: logistic regression on its states, layer by layer (Tenney et al. 2019, "BERT rediscovers the
classical NLP pipeline"; Hewitt and Liang 2019 on what a probe shows)."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from multimodal.inference.layers import SequencePlace, place_states, words_and_clips
from multimodal.inference.trained import Trained
from multimodal.library import Material
from multimodal.scoring.intervals import Figure, ScoredQuestions, sample_questions
from multimodal.scoring.layers import MODALITY, NOUN, PLACES, POSITION, PROPERTIES, VERB, probe_figure
from multimodal.scoring.truth import Truth
from multimodal.segments import Segment
from vision.clips import CLIP_SECONDS

VERSION = 1
STRENGTH = 0.1
"""Inverse penalty of the regression, the same for all layers."""
MOST_MOMENTS = 400
"""Moments to learn a probe from, and as many to judge it by."""


def linear_probe(train_NH: np.ndarray, labels_N: np.ndarray, test_MH: np.ndarray) -> np.ndarray:
    """The labels [M] that logistic regression on the states of one layer says."""
    linear = make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=500))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one that has not converged is as good a probe
        return linear.fit(train_NH, labels_N).predict(test_MH)


def probe_layers(
    train_LNH: np.ndarray,
    test_LMH: np.ndarray,
    labels_N: np.ndarray,
    true_M: np.ndarray,
    videos: Sequence[str],
    seed: int,
    note: str = "",
) -> list[Figure]:
    """How often a linear probe of each layer tells the label of a state; ``videos`` are those of the M states to judge by. Chance
    is the label that is most frequent in ``labels_N``."""
    names, counts = np.unique(labels_N, return_counts=True)
    chances = (true_M == names[counts.argmax()]).astype(float).tolist()
    found = []
    for train_NH, test_MH in zip(train_LNH, test_LMH, strict=True):
        right = linear_probe(train_NH, labels_N, test_MH) == true_M
        found.append(ScoredQuestions(right.astype(float).tolist(), list(videos), chances).figure(seed, note))
    return found


@dataclasses.dataclass(frozen=True)
class _Places:
    """The words and clips of some moments, and of each property the label of each, "" where it has none."""

    moments: list[Segment]
    places: list[SequencePlace]
    labels: dict[str, np.ndarray]

    def drawn(self, what: str, seed: int) -> tuple[np.ndarray, str]:
        """The numbers of the places that are asked for a property, and a note where they are a sample."""
        some, note = sample_questions(np.flatnonzero(self.labels[what] != ""), seed, what="words and clips")
        return np.asarray(some, np.int64), note

    def states(self, trained: Trained, numbers_N: np.ndarray) -> np.ndarray:
        """float32 [L + 1, N, H] at places with rising numbers."""
        return place_states(trained, self.moments, [self.places[n] for n in numbers_N])


def probe_figures(
    trained: Trained,
    train_videos: Sequence[Material],
    held_out: Sequence[Material],
    truth: Truth | None,
    seed: int = 0,
) -> dict[str, Figure]:
    """``probe_PROPERTY_at_layer_N``: how often a linear probe of a layer's states tells the property of a held-out word or clip.

    A probe learns from spoken moments of ``train_videos``, read as words and visual tokens together. The properties: whether a
    state is a word's or a clip's (``modality``), its place in the sequence up to the 16th (``position``), and with a truth the
    action and the thing shown in a clip (``verb``, ``noun``). A property is learned from
    :data:`~multimodal.scoring.intervals.MOST_QUESTIONS` words and clips at most, and asked of as many. Chance is the label that
    is most frequent in what was learned from. Layer 0, the embeddings, knows a token, its modality and its place, but not the
    others around it; what a later layer knows more of verb and noun comes from these. Left out is a property that has one label
    alone; there is no figure where nothing is said while a clip is shown, in either group of videos.
    """
    learned, judged = (_places(trained, some, truth, seed) for some in (train_videos, held_out))
    drawn: dict[str, tuple[np.ndarray, np.ndarray, str]] = {}
    for what in PROPERTIES:
        (train, _), (test, note) = learned.drawn(what, seed), judged.drawn(what, seed)
        if len(np.unique(learned.labels[what][train])) > 1 and len(test):
            drawn[what] = train, test, note
    if not drawn:
        return {}
    train_rows, test_rows = (np.unique(np.concatenate([d[i] for d in drawn.values()])) for i in (0, 1))
    train_LNH, test_LMH = learned.states(trained, train_rows), judged.states(trained, test_rows)
    found: dict[str, Figure] = {}
    for what, (train, test, note) in drawn.items():
        labels, true = learned.labels[what][train], judged.labels[what][test]
        videos = [judged.moments[judged.places[n].moment].video for n in test]
        states = (
            train_LNH[:, np.searchsorted(train_rows, train)],
            test_LMH[:, np.searchsorted(test_rows, test)],
        )
        layers = probe_layers(*states, labels, true, videos, seed, note)
        found |= {probe_figure(what, layer): figure for layer, figure in enumerate(layers)}
    return found


def _places(trained: Trained, videos: Sequence[Material], truth: Truth | None, seed: int) -> _Places:
    spoken = [(m, s) for m in videos for s in m.spoken() if s.text and s.tokens]
    some, _ = sample_questions(spoken, seed, MOST_MOMENTS)
    moments = [moment for _, moment in some]
    places = words_and_clips(trained, moments)
    rows: dict[str, list[str]] = {what: [] for what in PROPERTIES}
    for place in places:
        material, moment = some[place.moment]
        step = None
        if truth is not None and place.clip is not None:
            start = float(material.starts[moment.clips[place.clip]])
            step = truth.at(moment.video, start, start + CLIP_SECONDS)
        rows[VERB].append(step.action if step else "")
        rows[NOUN].append(step.thing if step else "")
        rows[MODALITY].append("word" if place.clip is None else "clip")
        rows[POSITION].append(str(place.position) if place.position <= PLACES else "")
    return _Places(moments, places, {what: np.array(found, str) for what, found in rows.items()})
