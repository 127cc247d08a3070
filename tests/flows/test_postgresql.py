"""Prefect's server on PostgreSQL, as more than one machine needs it: the flows, `videobert deploy` and the history work there."""

import contextlib
import json
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import imported_corpus
import pytest
from command import Home, free_port, prefect_server

pytestmark = pytest.mark.long
VERSIONS = Path("/usr/lib/postgresql")


@pytest.fixture
def database(require) -> Iterator[tuple[str, Path]]:
    """The address of a PostgreSQL server of Debian's on this machine alone, and its programs."""
    programs = max(VERSIONS.glob("*/bin"), default=None, key=lambda p: int(p.parent.name))
    if programs is None:
        require("postgresql", f"no {VERSIONS}/*/bin; apt install postgresql")
    as_user: dict = {}
    with tempfile.TemporaryDirectory() as temporary:  # not pytest's: no other user may enter those
        folder = Path(temporary)
        if os.getuid() == 0:  # PostgreSQL refuses to be root
            nobody = pwd.getpwnam("nobody")
            as_user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            shutil.chown(folder, nobody.pw_uid, nobody.pw_gid)
        with _running(programs, folder, as_user) as address:
            yield address, programs


@contextlib.contextmanager
def _running(programs: Path, folder: Path, as_user: dict) -> Iterator[str]:
    port = free_port()
    data = folder / "data"
    subprocess.run(
        [programs / "initdb", "-D", data, "-U", "videobert", "--auth", "trust", "-E", "UTF8", "--locale", "C"],
        check=True, capture_output=True, cwd="/", **as_user,
    )  # fmt: skip
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [programs / "postgres", "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", folder],
            stdout=log, stderr=log, cwd="/", **as_user,
        )  # fmt: skip
    try:
        ready = [programs / "pg_isready", "-h", "127.0.0.1", "-p", str(port)]
        due = time.monotonic() + 60
        while subprocess.run(ready, capture_output=True, check=False).returncode:
            assert time.monotonic() < due and server.poll() is None, (folder / "log").read_text()
            time.sleep(0.1)
        yield f"127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(30)


def test_runs_and_deployments_are_kept_in_postgresql(database, tmp_path):
    address, programs = database
    imported_corpus.write_corpus(tmp_path / "corpus", videos=6)
    url = f"postgresql+asyncpg://videobert@{address}/postgres"
    with prefect_server(tmp_path, {"PREFECT_SERVER_DATABASE_CONNECTION_URL": url}) as server:
        home = Home(tmp_path / "prefect", server)
        store = tmp_path / "store"
        for command in (("ingest", "--import", tmp_path / "corpus", "--store", store, "--json"), ("deploy",)):
            ended = home.run(*command)
            assert ended.returncode == 0, ended.stderr
        (run,) = httpx.post(f"{server}/flow_runs/filter", json={}).json()
        assert run["state"]["type"] == "COMPLETED" and run["name"].startswith("ingest")
        deployed = {d["name"] for d in httpx.post(f"{server}/deployments/filter", json={}).json()}
    asked = subprocess.run(
        [programs / "psql", "-h", address.split(":")[0], "-p", address.split(":")[1], "-U", "videobert", "-d", "postgres",
         "-Atc", "select json_build_object('runs', (select count(*) from flow_run), 'deployments', (select json_agg(name) from deployment))"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    kept = json.loads(asked.stdout)
    assert kept["runs"] == 1 and set(kept["deployments"]) == deployed and deployed
