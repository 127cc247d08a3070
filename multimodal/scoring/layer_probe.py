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

from multimodal.inference.layers import word_and_clip_states
from multimodal.inference.trained import Trained
from multimodal.library import Material
from multimodal.scoring.intervals import Figure, ScoredQuestions, sample_questions
from multimodal.scoring.layers import MODALITY, NOUN, PLACES, POSITION, PROPERTIES, VERB, probe_figure
from multimodal.scoring.truth import Truth
from vision.clips import CLIP_SECONDS

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


@dataclasses.dataclass(frozen=True)
class _Asked:
    """The words and clips of some moments: the states that each layer has of them [L + 1, N, H], the video of each, and of each
    property the label, "" where it has none."""

    states_LNH: np.ndarray
    videos: list[str]
    labels: dict[str, np.ndarray]


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
    action and the thing shown in a clip (``verb``, ``noun``). Chance is the label that is most frequent in what was learned
    from. Layer 0, the embeddings, knows a token without the others around it; what a later layer knows more of verb and noun
    comes from these. Left out is a property that has one label alone.
    """
    learned, judged = (_asked(trained, some, truth, seed) for some in (train_videos, held_out))
    if learned is None or judged is None:
        return {}
    found: dict[str, Figure] = {}
    for what in PROPERTIES:
        train_labels, test_labels = learned.labels[what], judged.labels[what]
        train, _ = sample_questions(np.flatnonzero(train_labels != ""), seed)
        test, note = sample_questions(np.flatnonzero(test_labels != ""), seed)
        names, counts = np.unique(train_labels[train], return_counts=True)
        if len(names) < 2 or not len(test):
            continue
        by_chance = names[counts.argmax()] == test_labels[test]
        for layer, (train_NH, test_NH) in enumerate(zip(learned.states_LNH, judged.states_LNH, strict=True)):
            said = linear_probe(train_NH[train], train_labels[train], test_NH[test])
            questions = ScoredQuestions()
            for i, right, chance in zip(test, said == test_labels[test], by_chance, strict=True):
                questions.add(judged.videos[i], right, chance)
            found[probe_figure(what, layer)] = questions.figure(seed, note)
    return found


def _asked(trained: Trained, videos: Sequence[Material], truth: Truth | None, seed: int) -> _Asked | None:
    """``None`` where nothing is said while a clip is shown."""
    spoken = [(m, s) for m in videos for s in m.spoken() if s.text and s.tokens]
    moments, _ = sample_questions(spoken, seed, MOST_MOMENTS)
    if not moments:
        return None
    places, states_LNH = word_and_clip_states(trained, [moment for _, moment in moments])
    rows: dict[str, list[str]] = {what: [] for what in PROPERTIES}
    for place in places:
        material, moment = moments[place.moment]
        step = None
        if truth is not None and place.clip is not None:
            start = float(material.starts[moment.clips[place.clip]])
            step = truth.at(moment.video, start, start + CLIP_SECONDS)
        rows[VERB].append(step.action if step else "")
        rows[NOUN].append(step.thing if step else "")
        rows[MODALITY].append("word" if place.clip is None else "clip")
        rows[POSITION].append(str(place.position) if place.position <= PLACES else "")
    labels = {what: np.array(found) for what, found in rows.items()}
    return _Asked(states_LNH, [moments[place.moment][1].video for place in places], labels)
