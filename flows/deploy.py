"""The command `deploy`: work pool, deployments and automations on a Prefect server; repeated, it keeps what is switched on.

The deployments are declared in ``prefect.yaml``, in which every schedule and trigger is off. What the server has of them by
now is written into a copy, of which Prefect's own command makes the deployments.
"""

from __future__ import annotations

import copy
import datetime
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from flows import history, import_path, progress
from flows.options import CHOICE
from flows.printing import put
from multimodal.names import listed
from multimodal.store import InputError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.responses import DeploymentResponse
    from prefect.events.schemas.automations import AutomationCore

REGISTRY = Path(__file__).with_name("prefect.yaml")
POOL, NIGHTLY, FIRST = "videobert", "nightly", "ingest"
OFF = "off"
_TIME = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")
SECONDS_WITHOUT_HEARTBEAT = 90
"""Three heartbeats, which the deployments send every 30 s."""
ENDED = ("Completed", "Failed", "TimedOut", "Cancelled", "Crashed")
TAGS = ("stages", "questions")
"""Of the deployments' runs."""
Deployment = dict[str, Any]


def deploy(
    *,
    nightly: Annotated[
        str | None,
        Parameter(help="Time of day, HH:MM, at which all stages run, or off; as it is where not given."),
    ] = None,
    chain: Annotated[
        Literal["on", "off"] | None,
        Parameter(
            help="Each stage after the one before it, and ingest every hour; as it is where not given."
        ),
        CHOICE,
    ] = None,
    notify: Annotated[
        str | None,
        Parameter(help="TYPE/NAME of a notification block of the server, which is told of runs that failed."),
    ] = None,
) -> None:
    """Sets up a Prefect server (PREFECT_API_URL): work pool, deployments, automations. Repeated, it keeps what is on.

    A run whose process is gone is ended by an automation. docs/scheduling.md has the server, the worker and the key.
    """
    import yaml

    from flows.server import address_of_server

    at = _cron(nightly)
    with progress.waiting("asking the Prefect server"):
        url = address_of_server()
        from prefect import get_client
    with get_client(sync_client=True) as client:
        block = _notification_block(client, notify) if notify else None
        registry = yaml.safe_load(REGISTRY.read_text(encoding="utf-8"))
        declared: list[Deployment] = copy.deepcopy(registry["deployments"])
        on_server = {(d.name, d.entrypoint): d for d in client.read_deployments()}
        for deployment in declared:
            _keep(client, deployment, on_server.get((deployment["name"], deployment["entrypoint"])))
            _switch(deployment, at, chain)
        _make_pool(client)
        with progress.waiting(f"deploying {len(declared)} flows"):
            _apply(registry | {"deployments": declared})
        _automate(client, _zombies())
        if block is not None:
            _automate(client, _notification(block))
        for line in _told(declared):
            put(line)
        put(f"automations: {', '.join(f'{a.name} {_on(a.enabled)}' for a in _automations(client))}")
    put(f"server: {url.removesuffix('/api')}")
    put(
        f"next: PREFECT_API_URL={url} VIDEOBERT_HOME=FOLDER prefect worker start --pool {POOL}, where the work is to be done"
    )


def _cron(nightly: str | None) -> str | None:
    """The schedule as cron has it; ``off`` and ``None`` stay. Raises :class:`InputError` for what is no time of day."""
    if nightly in (None, OFF):
        return nightly
    found = _TIME.fullmatch(nightly)
    if not found:
        raise InputError(f"--nightly {nightly}: no time of day; write HH:MM, as in 02:00, or {OFF}")
    return f"{int(found[2])} {int(found[1])} * * *"


def _time_zone() -> str:
    """The machine's time zone by its name in the IANA database; UTC where it has none."""
    place = (
        os.environ.get("TZ", "").removeprefix(":")
        or os.path.realpath("/etc/localtime").partition("zoneinfo/")[2]
    )
    return place if "/" in place else "UTC"


def _keep(client: SyncPrefectClient, deployment: Deployment, there: DeploymentResponse | None) -> None:
    """Takes over what the server has of a deployment: its parameters, its schedules, and whether its triggers are on."""
    if there is None:
        return
    deployment["parameters"] = there.parameters
    deployment["schedules"] = [
        {k: v for k, v in s.schedule.model_dump(mode="json").items() if v is not None} | {"active": s.active}
        for s in there.schedules
    ]
    automations = client.read_resource_related_automations(f"prefect.deployment.{there.id}")
    enabled = any(a.enabled for a in automations if a.name.startswith(f"{there.name}__"))
    for trigger in deployment.get("triggers", []):
        trigger["enabled"] = enabled


def _switch(deployment: Deployment, at: str | None, chain: str | None) -> None:
    """Switches the schedules and triggers of a deployment as the command says."""
    if deployment["name"] == NIGHTLY and at == OFF:
        for schedule in deployment["schedules"]:
            schedule["active"] = False
    elif deployment["name"] == NIGHTLY and at is not None:
        deployment["schedules"] = [{"cron": at, "timezone": _time_zone(), "active": True}]
    if chain is None:
        return
    for trigger in deployment.get("triggers", []):
        trigger["enabled"] = chain == "on"
    if deployment["name"] == FIRST:
        for schedule in deployment["schedules"]:
            schedule["active"] = chain == "on"


def _make_pool(client: SyncPrefectClient) -> None:
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists
    from prefect.workers.process import ProcessWorker

    template = ProcessWorker.get_default_base_job_template()
    try:
        client.create_work_pool(WorkPoolCreate(name=POOL, type="process", base_job_template=template))
    except ObjectAlreadyExists:
        return


def _apply(registry: dict[str, Any]) -> None:
    """Makes or replaces the deployments by `prefect deploy`. Raises :class:`InputError` with its last line where it fails."""
    import yaml

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "prefect.yaml")
        file.write_text(yaml.safe_dump(registry, sort_keys=False), encoding="utf-8")
        ended = subprocess.run(
            [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", file.name],
            cwd=folder, env=os.environ | {"PYTHONPATH": import_path(), "PREFECT_LOGGING_LEVEL": "CRITICAL"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    if ended.returncode != 0:
        said = (ended.stderr + ended.stdout).strip().splitlines() or ["no message"]
        raise InputError(f"prefect deploy: {said[-1].strip()}; see that the server answers, and run again")


def _zombies() -> AutomationCore:
    """Ends runs whose process is gone: it sent heartbeats, and sends none any more."""
    from prefect.client.schemas.objects import StateType
    from prefect.events.actions import ChangeFlowRunState
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

    beat = "prefect.flow-run.heartbeat"
    # Other runs, of commands too, send a heartbeat every three minutes, and count as alive.
    tagged = [f"prefect.tag.{name}" for name in (*TAGS, history.PART)]
    trigger = EventTrigger(
        posture=Posture.Proactive, match={"prefect.resource.id": "prefect.flow-run.*"},
        match_related={"prefect.resource.role": "tag", "prefect.resource.id": tagged},
        for_each={"prefect.resource.id"}, after={beat}, expect={beat, *(f"prefect.flow-run.{end}" for end in ENDED)},
        threshold=1, within=datetime.timedelta(seconds=SECONDS_WITHOUT_HEARTBEAT),
    )  # fmt: skip
    message = (
        f"No heartbeat for {SECONDS_WITHOUT_HEARTBEAT} seconds: its process is gone. The next run goes on."
    )
    end = ChangeFlowRunState(state=StateType.CRASHED, message=message)
    return AutomationCore(name="zombie runs", description=message, trigger=trigger, actions=[end])


def _notification_block(client: SyncPrefectClient, name: str) -> Any:
    """The identifier of a block of the server. Raises :class:`InputError` where there is none."""
    from prefect.exceptions import ObjectNotFound

    kind, _, own = name.partition("/")
    try:
        return client.read_block_document_by_name(own, kind).id
    except ObjectNotFound as error:
        raise InputError(
            f"--notify {name}: the server has no such block; `prefect block ls` lists them as TYPE/NAME"
        ) from error


def _notification(block: Any) -> AutomationCore:
    from prefect.events.actions import SendNotification
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

    trigger = EventTrigger(
        posture=Posture.Reactive, match={"prefect.resource.id": "prefect.flow-run.*"},
        match_related={"prefect.resource.role": "tag", "prefect.resource.id": f"prefect.tag.{TAGS[0]}"},
        expect={f"prefect.flow-run.{end}" for end in ("Failed", "Crashed", "TimedOut")},
        for_each={"prefect.resource.id"}, threshold=1,
    )  # fmt: skip
    send = SendNotification(
        block_document_id=block, subject="videobert: {{ flow.name }} {{ flow_run.state.name }}",
        body="{{ flow_run.name }}: {{ flow_run.state.message }}",
    )  # fmt: skip
    return AutomationCore(
        name="failed runs", description="Tells of runs that failed.", trigger=trigger, actions=[send]
    )


def _automate(client: SyncPrefectClient, wanted: AutomationCore) -> None:
    """Makes an automation, or brings the one of that name up to date; whether it is on is kept."""
    there = client.read_automations_by_name(wanted.name)
    if there:
        client.update_automation(there[0].id, wanted.model_copy(update={"enabled": there[0].enabled}))
    else:
        client.create_automation(wanted)


def _automations(client: SyncPrefectClient) -> Iterator[AutomationCore]:
    for name in ("zombie runs", "failed runs"):
        yield from client.read_automations_by_name(name)


def _on(is_on: bool) -> str:
    return "on" if is_on else OFF


def _told(declared: list[Deployment]) -> Iterator[str]:
    """What was set up, for people."""
    yield f"deployments: {len(declared)}, in the work pool {POOL}"
    for deployment in declared:
        for schedule in deployment.get("schedules", []):
            when = listed(
                [str(v) for k, v in schedule.items() if k in ("cron", "interval", "rrule", "timezone")],
                3,
                " ",
            )
            yield f"{deployment['name']}: {when} {_on(schedule['active'])}"
    triggers = [t["enabled"] for d in declared for t in d.get("triggers", [])]
    yield (
        f"chain: {_on(all(triggers))}"
        if len(set(triggers)) == 1
        else f"chain: {sum(triggers)} of {len(triggers)} on"
    )
