"""Systems: the table of rows and parts, what is refused, what is stored of them."""

import contextlib
import dataclasses
import itertools
import signal

import joint_samples
import killed
import pytest
import torch
from safetensors.torch import load_file

from flows.settings import Settings
from multimodal.examples.corruptions import CORRUPTIONS
from multimodal.examples.packing import pack
from multimodal.examples.pairs import PAIRS
from multimodal.examples.sampling import STATIC_DRAWINGS
from multimodal.objectives.pretraining import TERMS, PretrainingObjective
from multimodal.objectives.weights import LossWeights
from multimodal.store import InputError, canonical_json
from multimodal.systems import EXTRA_TERMS, PAIR_TASKS, PARTS, SYSTEMS, System
from multimodal.terms import DEFAULT_WEIGHTS, TITLES
from multimodal.training.options import PretrainOptions, TrainingOptions

transformers = pytest.importorskip("transformers")
V = joint_samples.vocabulary()


def system(name="videobert", **parts):
    return dataclasses.replace(SYSTEMS[name], **parts)


def refused(make) -> str:
    with pytest.raises(InputError) as error:
        make()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_each_name_of_a_part_has_its_function():
    assert set(PARTS["mask_unit"].metadata["choices"]) == set(CORRUPTIONS)
    assert set(PAIR_TASKS) == set(PAIRS)
    for terms in (*PAIR_TASKS.values(), *EXTRA_TERMS.values()):
        assert terms <= set(DEFAULT_WEIGHTS) and terms <= set(TITLES)


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_system_asks_its_terms_and_no_other(name):
    found = PretrainingObjective(joint_samples.model(), V, system=SYSTEMS[name])
    assert set(found.names) == SYSTEMS[name].terms
    assert set(found.terms) <= set(TERMS)


def test_a_row_and_its_parts_become_options_by_their_own_names():
    assert Settings().pretrain.system == System()
    found = Settings(system="VIDEO", masking="static", pair_task="none").pretrain.system
    assert found == system(masking="static", pair_task="none")


@pytest.mark.parametrize(
    "option, value", [("system", "pegasus"), ("masking", "often"), ("pair_task", "both")]
)
def test_a_value_that_is_not_known_is_refused_by_name(option, value):
    said = refused(lambda: Settings(**{option: value}))
    assert f"--{option.replace('_', '-')} {value}" in said


def test_where_all_terms_of_the_system_have_no_weight_there_is_nothing_to_learn():
    weights = "text=0,video=0,joint=0,contrast=0"
    assert Settings(weights=weights).pretrain.active_terms == {"alignment"}
    said = refused(lambda: Settings(weights=weights, pair_task="none"))
    assert "--weights" in said and "--system videobert" in said


def test_the_address_of_videobert_knows_no_system_and_each_part_changes_it():
    weights = LossWeights(**dict.fromkeys(DEFAULT_WEIGHTS, 1.0))
    plain = PretrainOptions("none", training=TrainingOptions(weights=weights))
    assert "system" not in plain.for_address()
    assert set(plain.for_address()["training"]["weights"]) == System().terms
    others = [dataclasses.replace(plain, system=row) for row in SYSTEMS.values() if row != System()]
    others += [dataclasses.replace(plain, system=system(masking="static"))]
    addresses = {canonical_json(options.for_address()) for options in (plain, *others)}
    assert len(addresses) == len(others) + 1


def test_static_masks_come_back_and_dynamic_ones_do_not():
    dynamic, static = (joint_samples.examples(0, system=system(masking=m)) for m in ("dynamic", "static"))
    later = STATIC_DRAWINGS
    assert static.draw(0, 3) == static.draw(later, 3) == dynamic.draw(0, 3)
    assert static.draw(1, 3) == dynamic.draw(1, 3) != static.draw(0, 3)
    assert dynamic.draw(later, 3) != dynamic.draw(0, 3)


def test_without_a_pair_task_each_segment_has_one_joint_example():
    examples = joint_samples.examples(0, system=system(pair_task="none"))
    drawn = [example for item in range(len(examples.spoken)) for example in examples.draw(0, item)]
    assert sum("joint" in e.asks for e in drawn) == len(examples.spoken)
    assert not any("alignment" in e.asks for e in drawn)


@pytest.mark.parametrize("name", SYSTEMS)
def test_killed_in_the_middle_it_goes_on_to_the_same_weights(name, tmp_path):
    """In the middle of the fifth update, after checkpoints of the first four, and once by the clock alone."""
    steps = 6
    whole = killed.run(tmp_path / "whole", steps, 1e9, name)
    assert killed.forked(tmp_path / "cut", steps, "stepping", 5, 0.0, name) == -signal.SIGKILL
    assert [folder.name for folder in (tmp_path / "cut").glob("step-*")] == ["step-4"]
    again = killed.run(tmp_path / "cut", steps, 1e9, name)
    files = sorted(file.name for file in whole.glob("*.safetensors"))
    assert files == sorted(file.name for file in again.glob("*.safetensors"))
    for file in files:
        one, other = load_file(whole / file), load_file(again / file)
        assert all(torch.equal(one[tensor], other[tensor]) for tensor in one)
    lines = [(tmp_path / part / "metrics.jsonl").read_text() for part in ("whole", "cut")]
    assert lines[0] == lines[1]


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_model_of_it_opens_in_transformers(name, tmp_path):
    folder = killed.run(tmp_path, 1, 1e9, name)
    _, about = transformers.BertForPreTraining.from_pretrained(folder, output_loading_info=True)
    assert not about["missing_keys"] and not about["unexpected_keys"] and not about["mismatched_keys"]


@pytest.mark.parametrize("name", SYSTEMS)
def test_draws_are_a_function_of_seed_epoch_and_item(name):
    one, other = (joint_samples.examples(5, system=SYSTEMS[name]) for _ in range(2))
    items = [(epoch, item) for epoch in (0, 1) for item in range(0, len(one), 3)]
    assert [one.draw(*item) for item in items] == [other.draw(*item) for item in reversed(items)][::-1]
    another_seed = joint_samples.examples(6, system=SYSTEMS[name])
    assert [another_seed.draw(*item) for item in items] != [one.draw(*item) for item in items]


def combinations() -> list[System]:
    """Each thirteenth of all combinations of parts that are not refused."""
    parts = ("mask_unit", "pair_task", "sequences", "extra_terms", "share_layers")
    values = [PARTS[part].metadata["choices"] for part in parts]
    found = []
    for chosen in itertools.product(*values, (0, 8)):
        with contextlib.suppress(InputError):
            found.append(System("mixed", **dict(zip((*parts, "embedding_size"), chosen, strict=True))))
    return found[::13]


def test_parts_of_different_systems_work_together():
    """A step of each: its loss is a number, and all that is trained gets a gradient."""
    for mixed in combinations():
        examples = joint_samples.examples(1, videos=2, system=mixed)
        batch = pack([e for item in range(0, len(examples), 9) for e in examples.draw(0, item)])
        found = PretrainingObjective(joint_samples.model_of(mixed, 7), V, system=mixed).train()
        loss, _ = found(batch, found.counts(batch))
        loss.backward()
        assert torch.isfinite(loss), mixed
        assert all(p.grad is not None for p in found.parameters() if p.requires_grad), mixed
