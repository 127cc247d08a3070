"""`prefect.yaml`: what it declares is there, and nothing of it runs unless it is asked for."""

import inspect
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from flows.settings import Settings

REGISTRY = yaml.safe_load((Path(__file__).parents[2] / "prefect.yaml").read_text())
DEPLOYMENTS = {d["name"]: d for d in REGISTRY["deployments"]}
CHAIN = ("ingest", "codebook", "pretrain", "captioner", "index", "evaluate")
ASKED_FOR = ("compare", "finetune", "export", "import-model")
WORK = {"nightly", *ASKED_FOR, *CHAIN}
QUESTIONS = {"search", "caption", "next", "classify", "imagine", "chapters", "summarise", "predict"}


def flow_of(deployment: dict):
    module, name = deployment["entrypoint"].rsplit(".", 1)
    return getattr(import_module(module), name)


def test_every_flow_has_one_deployment():
    assert set(DEPLOYMENTS) == WORK | QUESTIONS
    assert {name: flow_of(d).name for name, d in DEPLOYMENTS.items()} == {"nightly": "pipeline"} | {
        name: name for name in (*CHAIN, *ASKED_FOR, *QUESTIONS)
    }


@pytest.mark.parametrize("name", sorted(WORK))
def test_its_parameters_are_those_of_the_flow(name):
    flow, parameters = flow_of(DEPLOYMENTS[name]), DEPLOYMENTS[name]["parameters"]
    brought_in_by_hand = {"imports"}
    assert set(parameters) == set(inspect.signature(flow.fn).parameters) - brought_in_by_hand
    validated = flow.validate_parameters(parameters)
    assert isinstance(validated["settings"], Settings)
    assert (validated["settings"].store, validated["settings"].size) == (Path("store"), "small")


@pytest.mark.parametrize("name", sorted(QUESTIONS))
def test_a_question_reads_the_store_and_waits_for_nobody(name):
    flow, deployment = flow_of(DEPLOYMENTS[name]), DEPLOYMENTS[name]
    parameters = inspect.signature(flow.fn).parameters
    assert set(deployment["parameters"]) <= set(parameters)
    assert {p for p in parameters if parameters[p].default is inspect.Parameter.empty} <= set(
        deployment["parameters"]
    )
    assert flow.validate_parameters(deployment["parameters"])["store"] == Path("store")
    assert not {"concurrency_limit", "schedules", "triggers"} & set(deployment)
    assert deployment["work_pool"]["name"] == "videobert"


@pytest.mark.parametrize("name", sorted(WORK))
def test_one_run_at_a_time_and_none_by_itself(name):
    deployment = DEPLOYMENTS[name]
    assert deployment["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}
    assert deployment["work_pool"]["name"] == "videobert"
    assert all(s["active"] is False for s in deployment.get("schedules", []))
    assert all(t["enabled"] is False for t in deployment.get("triggers", []))


def test_each_stage_follows_the_one_before():
    for before, after in zip(CHAIN, CHAIN[1:], strict=False):
        (trigger,) = DEPLOYMENTS[after]["triggers"]
        assert trigger["match_related"]["prefect.resource.name"] == before
        assert trigger["expect"] == ["prefect.flow-run.Completed"]


def test_the_folder_is_asked_for_where_the_work_is_done():
    steps = [next(iter(step.values())) for step in REGISTRY["pull"]]
    assert steps == [
        {"id": "home", "script": "printenv VIDEOBERT_HOME", "stream_output": False},
        {"directory": "{{ home.stdout }}"},
    ]
