"""Trimming: a training holds the word rows that its library says, and what it stores is the whole model."""

import dataclasses
import math

import joint_samples
import numpy as np
import pytest
import torch

from multimodal.examples.options import ExampleOptions
from multimodal.examples.sampling import Examples
from multimodal.joint.layout import TABLE
from multimodal.joint.model import JointBert
from multimodal.objectives.pretraining import PretrainingObjective
from multimodal.segments import Segment
from multimodal.systems import SYSTEMS
from multimodal.terms import JOINT, TEXT
from multimodal.training.pretraining import trim
from multimodal.vocabulary import Vocabulary

transformers = pytest.importorskip("transformers")
FULL = joint_samples.vocabulary()
BIAS = "cls.predictions.bias"


def parts(frozen: bool = False):
    """A whole model, its trimmed rows, the trimmed model, and the trimmed examples."""
    examples, held_out = joint_samples.examples(1, videos=3), joint_samples.examples(2, videos=2)
    trimmed = trim(FULL, examples, held_out)
    whole = joint_samples.model(3, frozen_rows=FULL.visual if frozen else 0)
    return whole, trimmed, trimmed.begin(whole).eval(), examples


@pytest.mark.parametrize("frozen", [False, True])
def test_what_is_stored_is_the_whole_model_and_opens_in_transformers(frozen, tmp_path):
    whole, trimmed, model, _ = parts(frozen)
    assert model.options.vocab_size < whole.options.vocab_size
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    objective = PretrainingObjective(model, FULL, trimmed=trimmed)
    objective.save(tmp_path, objective.state_dict())
    before, stored = whole.export_tensors(), JointBert.load(tmp_path).export_tensors()
    kept = torch.tensor(trimmed.vocabulary.kept)
    others = torch.tensor(sorted(set(range(len(FULL.words))) - set(trimmed.vocabulary.kept)))
    assert torch.equal(stored[TABLE][others], before[TABLE][others])
    assert torch.equal(stored[TABLE][kept], before[TABLE][kept] + 1)
    assert torch.equal(stored[TABLE][FULL.first_visual :], before[TABLE][FULL.first_visual :] + (not frozen))
    assert len(stored[BIAS][others].unique()) == 1
    assert Vocabulary.load(tmp_path) == FULL
    opened = transformers.BertForPreTraining.from_pretrained(tmp_path)
    assert opened.config.vocab_size == FULL.size
    torch.testing.assert_close(opened.state_dict()[TABLE], stored[TABLE])


def test_a_checkpoint_comes_back_as_it_was(tmp_path):
    _, trimmed, model, _ = parts()
    objective = PretrainingObjective(model, FULL, trimmed=trimmed)
    objective.save(tmp_path, objective.state_dict())
    _, again, other, _ = parts()
    back = PretrainingObjective(other, FULL, trimmed=again)
    back.load(tmp_path)
    for name, tensor in model.state_dict().items():
        assert torch.equal(back.model.state_dict()[name], tensor), name
    (tmp_path / "again").mkdir()
    back.save(tmp_path / "again", back.state_dict())
    first, second = (JointBert.load(f).state_dict() for f in (tmp_path, tmp_path / "again"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_cloze_of_a_trimmed_model_is_that_of_the_whole_one_over_the_kept_pieces():
    whole, trimmed, model, examples = parts()
    batch = examples.batch([(0, item) for item in range(4)])
    entries = torch.tensor([*trimmed.vocabulary.kept, *range(FULL.join, FULL.size)])
    in_full = dataclasses.replace(batch, ids_T=entries[batch.ids_T])
    asked = batch.asks[JOINT][:, 0]
    with torch.no_grad():
        found = model.cloze(model.encode(batch)[asked])
        expected = whole.cloze(whole.encode(in_full)[asked])[:, entries]
    torch.testing.assert_close(found, expected)


def test_pieces_that_nobody_says_get_the_share_of_those_that_are_said_once(tmp_path):
    _, trimmed, model, examples = parts()
    counts = examples.spoken.piece_counts()
    once, total = int((counts == 1).sum()), int(counts.sum())
    objective = PretrainingObjective(model, FULL, trimmed=trimmed)
    objective.save(tmp_path, objective.state_dict())
    stored, entries = (
        JointBert.load(tmp_path),
        torch.tensor([*trimmed.vocabulary.kept, *range(FULL.join, FULL.size)]),
    )
    batch = examples.batch([(0, item) for item in range(len(examples.spoken))])
    words = torch.cat([batch.asks[name] for name in (TEXT, JOINT)])
    words = words[words[:, 1] < len(trimmed.vocabulary.kept), 0]
    with torch.no_grad():
        x_TH = stored.encode(dataclasses.replace(batch, ids_T=entries[batch.ids_T]))
        p_MV = stored.cloze(x_TH[words]).softmax(-1)
    others = 1 - p_MV[:, entries].sum(-1)
    share = (once + 1) / (total + 2)
    assert float(torch.logit(others).mean()) == pytest.approx(math.log(share / (1 - share)), abs=1e-3)


def test_a_piece_that_training_never_reads_is_unknown_and_never_asked():
    examples, held_out = joint_samples.examples(1, videos=3), joint_samples.examples(2, videos=2)
    kept = trim(FULL, examples, held_out).vocabulary
    missing = next(w for w in FULL.words if w.isalpha() and FULL.encode(w)[0] not in kept.kept)
    assert kept.encode(f"the {missing}") == [kept.encode("the")[0], kept.unknown]
    assert set(kept.replaceable_words) == {i for i, w in enumerate(kept.words) if not w.startswith("[")}


def test_phrases_of_held_out_videos_are_those_of_the_training_videos():
    def said(opening: str) -> Examples:
        texts = [
            f"{opening} cut the onion",
            f"{opening} stir the apple",
            "wash the carrot",
            "peel the potato",
        ]
        spoken = [Segment(f"{n}", 0.0, 1.5, text, (n % 4,), (0,)) for n, text in enumerate(texts * 8)]
        return Examples.of(FULL, spoken, [], ExampleOptions(), 0, system=SYSTEMS["ernie"])

    examples, held_out = said("let me"), said("how to")
    alone = held_out.corrupt.phrases
    assert tuple(FULL.encode("how to")) in alone
    trimmed = trim(FULL, examples, held_out).vocabulary
    assert tuple(trimmed.trim(np.array(FULL.encode("let me"))).tolist()) in held_out.corrupt.phrases
    assert held_out.corrupt.phrases == examples.corrupt.phrases
