"""Full sequences: as many segments of a video in a row as fit; and the loss of such a system against `transformers`."""

import joint_samples
import numpy as np
import padding
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from multimodal.examples.filling import MARKS, full, one_each
from multimodal.examples.options import ExampleOptions
from multimodal.examples.packing import pack
from multimodal.examples.sampling import Examples
from multimodal.examples.segment_table import SegmentTable
from multimodal.objectives.pretraining import PretrainingObjective
from multimodal.segments import Segment
from multimodal.store import InputError
from multimodal.systems import SYSTEMS, System
from multimodal.terms import CONTRAST, JOINT, TEXT, VIDEO

transformers = pytest.importorskip("transformers")
V = joint_samples.vocabulary()
ROBERTA = SYSTEMS["roberta"]


@st.composite
def corpora(draw):
    """Videos of segments with different numbers of words and clips."""
    found = []
    for video in range(draw(st.integers(1, 3))):
        clip = 0
        for n in range(draw(st.integers(1, 12))):
            words, clips = draw(st.integers(1, 30)), draw(st.integers(0, 8))
            found.append(
                Segment(str(video), n, n + 1, " ".join(["cut"] * words), (video,) * clips, tuple(range(clip, clip + clips)))
            )  # fmt: skip
            clip += clips
    return found


@given(corpora(), st.sampled_from([32, 64, 128]))
def test_groups_hold_every_segment_once_and_one_more_would_not_fit(corpus, longest):
    table = SegmentTable(corpus, V)
    groups = list(full(table, longest, shown=False))
    assert [place for group in groups for place in group] == list(range(len(corpus)))
    length = [len(V.encode(s.text)) + bool(s.tokens) + len(s.tokens) + 1 for s in corpus]
    for group, after in zip(groups, [*groups[1:], None], strict=True):
        assert len({corpus[place].video for place in group}) == 1
        total = sum(length[place] for place in group) + 1
        assert total <= longest or len(group) == 1
        if after and corpus[after.start].video == corpus[group.start].video:
            assert total + length[after.start] > longest
    shown = list(full(table, longest, shown=True))
    assert shown == [g for g in groups if any(corpus[place].tokens for place in g)]
    assert [g.start for g in one_each(table, longest, shown=True)] == [
        n for n, s in enumerate(corpus) if s.tokens
    ]


def kitchen(longest: int = 64) -> Examples:
    wanted = ExampleOptions(longest=longest, mask=1e-9, suffix_rate=0.0)
    return joint_samples.examples(0, wanted, videos=4, system=ROBERTA)


def test_a_sequence_reads_its_segments_one_after_the_other():
    examples = kitchen()
    groups = list(full(examples.spoken, 64, shown=False))
    assert max(map(len, groups)) > 1
    for item, group in enumerate(groups):
        drawn = examples.draw(0, item)
        texts, joints = ([e for e in drawn if term in e.asks] for term in (TEXT, JOINT))
        assert len(texts) == len(joints) == (2 if len(group) > 1 else 1)
        words = [i for place in group for i in examples.spoken.word_ids(place)]
        each = []
        for place in group:
            tokens = [t + V.first_visual for t in examples.spoken[place].tokens]
            each.append([*examples.spoken.word_ids(place), V.join, *tokens, V.sep])
        assert padding.read(texts[0]) == [V.cls_id, *words, V.sep]
        assert padding.read(joints[0]) == [V.cls_id, *(i for ids in each for i in ids)]
        assert len(joints[0].ids) <= 64
        assert padding.read(joints[-1]) in [[V.cls_id, *ids] for ids in each] or len(group) == 1
        pairs = [e for e in drawn if CONTRAST in e.asks]
        assert len(pairs) == 2 * len(group), "search reads a segment alone"


def test_clips_fill_a_sequence_too():
    examples = kitchen(longest=32)
    first_run = len(full(examples.spoken, 32, shown=False))
    for item in range(first_run, len(examples)):
        (video,) = examples.draw(0, item)
        assert set(video.asks) == {VIDEO} and len(video.ids) <= 32
    whole = [examples.runs.video(n) == examples.runs.video(0) for n in range(len(examples.runs))]
    clips = sum(len(examples.runs[n].tokens) for n in np.flatnonzero(whole))
    (video,) = examples.draw(0, first_run)
    assert len(video.ids) - MARKS == min(clips, 32 - MARKS)


@pytest.mark.parametrize("task", ["alignment", "next-segment", "order", "neighbour"])
def test_a_pair_task_is_refused_with_both_options_named(task):
    with pytest.raises(InputError) as error:
        System(sequences="full", pair_task=task)
    said = str(error.value)
    assert "\n" not in said and "--sequences full" in said and f"--pair-task {task}" in said


def test_loss_and_logits_are_those_of_transformers():
    """`RobertaForMaskedLM` numbers positions from `padding_idx + 1` on; our rows lie there."""
    model = joint_samples.model(3)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn(
            parameter.shape, generator=torch.Generator().manual_seed(parameter.numel())
        )
    o, pad = model.options, 1
    config = transformers.RobertaConfig(
        vocab_size=o.vocab_size, hidden_size=o.hidden_size, num_hidden_layers=o.num_hidden_layers,
        num_attention_heads=o.num_attention_heads, intermediate_size=o.intermediate_size, hidden_act="gelu",
        max_position_embeddings=o.max_position_embeddings + pad + 1, type_vocab_size=2,
        layer_norm_eps=o.layer_norm_eps, pad_token_id=pad, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    other = transformers.RobertaForMaskedLM(config).eval()
    ours = model.export_tensors()
    theirs = {n.replace("bert.", "roberta.", 1): t for n, t in ours.items() if n.startswith("bert.")}
    theirs = {name: tensor for name, tensor in theirs.items() if ".pooler." not in name}
    positions = "roberta.embeddings.position_embeddings.weight"
    theirs[positions] = torch.cat([torch.zeros(pad + 1, o.hidden_size), theirs[positions]])
    for kind in ("weight", "bias"):
        theirs[f"lm_head.dense.{kind}"] = ours[f"cls.predictions.transform.dense.{kind}"]
        theirs[f"lm_head.layer_norm.{kind}"] = ours[f"cls.predictions.transform.LayerNorm.{kind}"]
    theirs["lm_head.bias"] = theirs["lm_head.decoder.bias"] = ours["cls.predictions.bias"]
    theirs["lm_head.decoder.weight"] = ours["bert.embeddings.word_embeddings.weight"]
    missing, unexpected = other.load_state_dict(theirs, strict=False)
    assert not unexpected and not missing
    examples = joint_samples.examples(0, ExampleOptions(longest=64), videos=4, system=ROBERTA)
    found = [
        e for item in range(len(examples)) for e in examples.draw(0, item) if {JOINT, TEXT} & set(e.asks)
    ]
    batch, grid = pack(found), padding.padded(found, pad)
    del grid["next_sentence_label"]
    lengths = grid["attention_mask"].sum(1, keepdim=True)
    place = torch.arange(grid["input_ids"].shape[1])
    grid["position_ids"] = torch.where(place < lengths, place + pad + 1, pad)
    answer = other(**grid)
    objective = PretrainingObjective(model, V, system=ROBERTA)
    losses, counts = (
        objective.losses(batch),
        dict(zip(objective.names, objective.counts(batch).tolist(), strict=True)),
    )
    mean = sum(losses[n].item() * counts[n] for n in (TEXT, JOINT)) / (counts[TEXT] + counts[JOINT])
    assert mean == pytest.approx(answer.loss.item(), rel=1e-5)
    asked = torch.cat([batch.asks[TEXT], batch.asks[JOINT]])[:, 0].sort().values
    logits = model.cloze(model.encode(batch)[asked])
    torch.testing.assert_close(logits, answer.logits[grid["labels"] != -100], atol=1e-5, rtol=1e-5)
