"""The embedded server: who may ask it, and what is said where it does not start. Real servers of Prefect."""

import base64
import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from command import Home, prefect_server
from disks import small_disk

EVIL = "http://evil.example"
FLOW = """
import json, os, sys
from flows.server import ensure_server
ensure_server()
from prefect import flow
@flow
def double(n: int) -> int:
    return 2 * n
print(json.dumps([os.environ["PREFECT_API_URL"], double(21), "PREFECT_API_AUTH_STRING" in os.environ]), flush=True)
sys.stdin.read()
"""
READ_ALL = ("POST", "/flow_runs/filter", {})
MAKE_POOL = ("POST", "/work_pools/", {"name": "of-a-stranger", "type": "process"})


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The address of a run's own server, what the run's flow gave, and the run's process."""
    home = Home(tmp_path_factory.mktemp("own"))
    run = subprocess.Popen(
        [sys.executable, "-c", FLOW], env=home.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )  # fmt: skip
    url, *found = json.loads(run.stdout.readline())
    yield url, found, home
    run.stdin.close()
    assert run.wait(30) == 0
    assert home.left_over() == set()


def test_the_server_starts_beside_what_is_imported(tmp_path):
    """It is there while a flow is still being imported; one that is not asked for in the end goes with the process."""
    home = Home(tmp_path)
    code = """
import sys, psutil
from flows.running import loading
from flows.server import is_embedded
with loading():
    (child,) = psutil.Process().children()
    print(is_embedded(), "flows.server" in child.cmdline(), flush=True)
if sys.argv[1] == "used":
    from flows.server import ensure_server
    ensure_server()
    print([c.pid for c in psutil.Process().children()] == [child.pid], flush=True)
"""
    for way, expected in (("unused", ["True", "True"]), ("used", ["True", "True", "True"])):
        ended = subprocess.run(
            [sys.executable, "-c", code, way], env=home.environment, capture_output=True, text=True, timeout=300, check=True
        )  # fmt: skip
        assert ended.stdout.split() == expected
        assert home.left_over() == set()


@pytest.fixture(scope="module")
def keyed(served):
    """Commands that find a server of the user's own, which wants a key."""
    folder = Path(served[2].environment["PREFECT_HOME"])
    with prefect_server(folder, {"PREFECT_SERVER_API_AUTH_STRING": "me:secret"}) as url:
        yield Home(folder, url)


def test_a_run_works_and_its_children_are_not_given_the_key(served):
    assert served[1] == [42, False]


@pytest.mark.parametrize("method, path, body", [READ_ALL, MAKE_POOL], ids=["read", "write"])
@pytest.mark.parametrize("password", [None, "videobert:", "videobert:guessed"])
def test_a_stranger_is_refused(served, method, path, body, password):
    headers = {"Origin": EVIL}
    if password:
        headers["Authorization"] = f"Basic {base64.b64encode(password.encode()).decode()}"
    answer = httpx.request(method, served[0] + path, json=body, headers=headers)
    assert answer.status_code == 401
    assert "access-control-allow-origin" not in answer.headers
    asked_before = httpx.options(
        served[0] + path, headers={"Origin": EVIL, "Access-Control-Request-Method": method}
    )
    assert "access-control-allow-origin" not in asked_before.headers


def test_a_name_that_was_made_to_lead_here_is_refused(served):
    assert httpx.get(f"{served[0]}/health").status_code == 200
    assert httpx.get(f"{served[0]}/health", headers={"Host": "evil.example"}).status_code == 400


def test_no_command_line_shows_the_key(served):
    """`ps` shows command lines to every user; environments are shown to the owner alone."""
    _, _, home = served
    keys, started = set(), [Path("/proc", str(pid)) for pid in home.processes()]
    for process in started:
        assert (process / "environ").stat().st_mode & 0o077 == 0
        for entry in (process / "environ").read_bytes().split(b"\0"):
            if entry.startswith(b"PREFECT_SERVER_API_AUTH_STRING="):
                keys.add(entry.partition(b"=")[2].partition(b":")[2])
    (key,) = keys
    assert len(key) >= 32
    assert all(key not in (process / "cmdline").read_bytes() for process in started)


def test_the_control_prefects_own_defaults_let_everybody_in(home):
    """The careless server of the other tests: no key, every origin. Both doors are found open."""
    url = home.environment["PREFECT_API_URL"]
    answer = httpx.post(f"{url}/flow_runs/filter", json={}, headers={"Origin": EVIL})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "*")


@pytest.mark.parametrize("key, status", [("me:secret", 0), (None, 1)])
def test_a_server_of_ones_own_that_wants_a_key_is_named(keyed, key, status):
    ask = "from flows.server import ensure_server; ensure_server()"
    environment = keyed.environment | ({"PREFECT_API_AUTH_STRING": key} if key else {})
    ended = subprocess.run(
        [sys.executable, "-c", ask], env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == status
    assert not status or "PREFECT_API_AUTH_STRING" in ended.stderr.splitlines()[-1]


@pytest.mark.long
def test_a_full_home_is_the_reason_that_is_given(tmp_path):
    ask = "from flows.server import ensure_server; ensure_server()"
    with small_disk(tmp_path / "small", "100k") as small:
        ended = subprocess.run(
            [sys.executable, "-c", ask],
            env=Home(small).environment,
            capture_output=True,
            text=True,
            check=False,
        )
    line = ended.stderr.splitlines()[-1]
    assert "disk is full" in line and str(small) in line


def test_the_servers_settings_hold_where_prefect_was_imported_first(tmp_path):
    """`prefect_dask` imports it; Prefect's own 20 s, the control, are too short on a slow machine."""
    code = """
import prefect.context
from prefect.settings import get_current_settings
print(get_current_settings().server.ephemeral.startup_timeout_seconds)
import flows
print(get_current_settings().server.ephemeral.startup_timeout_seconds)
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], env=Home(tmp_path).environment, capture_output=True, text=True, timeout=120, check=True
    )  # fmt: skip
    assert ended.stdout.split() == ["20", "120"]
