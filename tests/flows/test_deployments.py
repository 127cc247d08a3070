"""`prefect.yaml`: what it declares is there, and nothing of it runs unless it is asked for."""

import dataclasses
import inspect
import uuid
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from prefect.server.events.schemas.automations import EventTrigger
from prefect.server.events.schemas.events import ReceivedEvent
from prefect.types._datetime import now
from prefect.utilities.callables import parameter_schema

from flows.deploy import _zombies
from flows.history import PART
from flows.settings import OPTIONS, Settings
from flows.working_folder import VARIABLE, working_folder
from multimodal import extras
from multimodal.store import InputError
from vision.backbones import BACKBONES

REGISTRY = yaml.safe_load((Path(__file__).parents[2] / "prefect.yaml").read_text())
DEPLOYMENTS = {d["name"]: d for d in REGISTRY["deployments"]}
CHAIN = ("ingest", "codebook", "pretrain", "captioner", "index", "evaluate")
ASKED_FOR = ("compare", "finetune", "distill", "export", "import-model")
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
    brought_in_by_hand = {"imports", "tokens", "seconds", "name", "model", "head", "time_limit"}
    assert set(parameters) == set(inspect.signature(flow.fn).parameters) - brought_in_by_hand
    validated = flow.validate_parameters(parameters)
    assert isinstance(validated["settings"], Settings)
    assert validated["settings"] == Settings(store=Path("store")), (
        "all else is the variables', the file's and the store's"
    )


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
    """And nothing of the machine that deploys is written into the step."""
    assert REGISTRY["pull"] == [{"flows.working_folder.working_folder": {}}]


def test_a_worker_without_what_the_flows_import_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert working_folder() == {"directory": str(tmp_path)}
    monkeypatch.setattr(extras, "installed", lambda name: None if name == "torchvision" else "1")
    with pytest.raises(InputError, match="^a worker of these deployments needs the extra.*torchvision"):
        working_folder()


@pytest.mark.parametrize("name", sorted(DEPLOYMENTS))
def test_its_form_has_a_text_for_each_parameter_and_no_type_that_is_none(name):
    """As Prefect's own `parameter_schema` makes it, which `prefect deploy` sends to the server."""
    flow = flow_of(DEPLOYMENTS[name])
    schema = parameter_schema(flow).model_dump()
    assert "'null'" not in str(schema)
    assert set(schema["properties"]) == set(inspect.signature(flow.fn).parameters)
    for shown in (
        *schema["properties"].values(),
        *fields_of(schema, "Settings"),
        *fields_of(schema, "Imports"),
    ):
        assert shown["description"], shown
    assert ":class:" not in flow.description and "Args:" not in flow.description


def fields_of(schema: dict, options: str) -> list[dict]:
    return list(schema["definitions"].get(options, {}).get("properties", {}).values())


def test_a_form_says_what_the_help_says_and_offers_the_known_names():
    properties = parameter_schema(flow_of(DEPLOYMENTS["nightly"])).model_dump()["definitions"]["Settings"][
        "properties"
    ]
    assert {name: properties[name]["description"] for name in OPTIONS} == {
        field.name: field.metadata["help"] for field in dataclasses.fields(Settings) if field.name in OPTIONS
    }
    assert properties["backbone"]["enum"] == list(BACKBONES)
    assert properties["size"]["enum"] == ["demo", "small", "base", "paper"]
    assert "enum" not in properties["whisper"], "a file may stand there"
    asked = parameter_schema(flow_of(DEPLOYMENTS["classify"])).model_dump()["properties"]
    assert asked["verbs"]["type"] == "array" and asked["verbs"]["description"].startswith(
        "Verbs to choose from"
    )


def test_deployments_are_told_apart_by_a_tag():
    assert {name: d["tags"] for name, d in DEPLOYMENTS.items()} == {
        name: ["stages"] if name in WORK else ["questions"] for name in DEPLOYMENTS
    }


@pytest.mark.parametrize(
    ("tag", "is_watched"), [("stages", True), ("questions", True), (PART, True), ("store /s", False)]
)
def test_heartbeats_are_asked_of_deployed_runs_alone(tag, is_watched):
    """A run of a command sends one every 180 s, and is not taken for dead in between. Judged by Prefect's own server."""
    trigger = EventTrigger.model_validate(_zombies().trigger.model_dump(mode="json"))
    beat = ReceivedEvent(
        id=uuid.uuid4(), occurred=now("UTC"), received=now("UTC"), event="prefect.flow-run.heartbeat",
        resource={"prefect.resource.id": f"prefect.flow-run.{uuid.uuid4()}"},
        related=[{"prefect.resource.id": f"prefect.tag.{tag}", "prefect.resource.role": "tag"}],
    )  # fmt: skip
    assert trigger.covers(beat) is is_watched
