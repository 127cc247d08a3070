"""Hostile requests: other hosts and sites, tokens, bodies that are too large, slow clients, paths that climb."""

import contextlib
import socket

import httpx
import pytest
from starlette.testclient import TestClient

from multimodal.serve import server as running
from multimodal.serve.app import make_app
from multimodal.serve.options import Limits, ServeOptions
from multimodal.serve.problems import without_paths
from multimodal.store import InputError

TOKEN = "a-token-of-many-letters"
LOCAL = "http://127.0.0.1:8420"


@pytest.fixture(scope="module")
def guarded(sample):
    """A server that asks for a token and whose limits are small."""
    limits = Limits(body=1000, upload=5000, stalled=0.5)
    application, _ = make_app(sample.root, ServeOptions(token=TOKEN, limits=limits))
    with TestClient(application, base_url=LOCAL) as client:
        yield client


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:8420", "", "localhost.evil.example", "[::1].x"]
)
def test_another_name_is_not_this_server(server, host):
    """DNS rebinding: a page of evil.example asks 127.0.0.1 under its own name."""
    answer = server.client.get("/api/health", headers={"host": host})
    assert answer.status_code in (400, 421)
    for own in ("127.0.0.1", "localhost:1", "[::1]:8420"):
        assert server.client.get("/api/health", headers={"host": own}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_another_site_changes_nothing(server, headers):
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert server.client.request(method, "/api/videos", headers=headers).status_code == 403
    own = server.url.rstrip("/")
    assert server.client.post("/api/health", headers={"origin": own}).status_code == 405, "the control"


def test_every_answer_has_its_headers(server):
    for address in (
        "/api/health",
        "/api/nothing",
        "/api/openapi.json",
        f"/api/media/{server.digest('kitchen-000.mp4')}",
    ):
        headers = server.client.get(address, headers={"range": "bytes=0-1"}).headers
        policy = headers["content-security-policy"]
        assert (
            "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        )
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in headers and "server" not in headers


def test_a_token_is_asked_for(guarded):
    assert guarded.get("/api/health").status_code == 401
    assert guarded.get("/api/health?token=another-token-of-letters").status_code == 401
    assert guarded.get("/api/health", headers={"authorization": f"Bearer {TOKEN}x"}).status_code == 401
    assert guarded.get("/api/health", headers={"cookie": "videobert="}).status_code == 401
    assert guarded.get("/api/health", headers={"cookie": "\x7f=;;="}).status_code == 401
    assert guarded.get("/api/health", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
    met = guarded.get(f"/api/health?q=1&token={TOKEN}", follow_redirects=False)
    assert met.status_code == 303 and met.headers["location"] == "/api/health?q=1"
    cookie = met.headers["set-cookie"].lower()
    assert "samesite=strict" in cookie and "httponly" in cookie
    led = guarded.get(f"//evil.example/?token={TOKEN}", follow_redirects=False)
    assert led.headers.get("location", "/").startswith("/") and not led.headers.get(
        "location", "/"
    ).startswith("//")
    guarded.cookies.clear()


def test_another_address_needs_a_token(tmp_path):
    for host in ("0.0.0.0", "::", "192.168.1.5", "example.org"):
        with pytest.raises(InputError, match="--token-file") as error:
            ServeOptions(host=host)
        assert "\n" not in str(error.value)
        ServeOptions(host=host, token=TOKEN)
    with pytest.raises(InputError, match="--token-file"):
        ServeOptions(token="short")
    for host in ("127.0.0.1", "127.1.2.3", "localhost", "::1"):
        ServeOptions(host=host)


def test_large_bodies_are_refused(guarded):
    own = {"authorization": f"Bearer {TOKEN}"}
    assert guarded.post("/api/health", content=b"x" * 1001, headers=own).status_code == 413
    assert guarded.post("/api/health", content=b"x" * 10, headers=own).status_code == 405
    lying = own | {"content-length": "many"}
    assert guarded.post("/api/health", content=b"x", headers=lying).status_code == 413


def test_reading_only(starting, sample):
    reader = starting(sample.root, read_only=True)
    for method, address in (("POST", "/api/videos?name=a.mp4"), ("DELETE", "/api/videos/" + "0" * 64)):
        assert reader.client.request(method, address).status_code == 403
    assert reader.client.get("/api/health").json()["read_only"] is True


@pytest.mark.parametrize(
    "path",
    [
        "/api/media/../../etc/passwd",
        "/api/media/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/api/pictures/../catalogue.sqlite",
        "/api/pictures/..%2f..%2fstore/v00001.jpg",
        "/api/thumbnails/%2e%2e/1.jpg",
        "/api/videos/%2fetc%2fpasswd",
        "/api/videos/%2fetc%2fpasswd/transcript.vtt",
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%5capp.py",
        "/%00",
        "/api/videos/%00",
        "/api/videos/%ff%fe",
    ],
)
def test_paths_do_not_climb(server, path):
    with socket.create_connection(("127.0.0.1", httpx.URL(server.url).port), timeout=20) as raw:
        raw.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        said = b"".join(iter(lambda: raw.recv(65536), b""))
    status = int(said.split(b" ")[1])
    assert status in (400, 404, 422) and b"root:" not in said and b"SQLite" not in said


@pytest.mark.parametrize(
    "half",
    [
        b"",
        b"GET /api/health HT",
        b"POST /api/health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx",
    ],
)
def test_a_slow_client_is_cut_off(starting, sample, monkeypatch, half):
    """One that says nothing, one that sends half a request, and one that sends half a body keep no connection for long."""
    monkeypatch.setattr(running, "SECONDS_FOR_HEADERS", 0.5)
    monkeypatch.setattr(running, "KEEP_ALIVE_SECONDS", 1)
    server = starting(sample.root, limits=Limits(stalled=0.5))
    with socket.create_connection(("127.0.0.1", httpx.URL(server.url).port), timeout=20) as slow:
        slow.sendall(half)
        with contextlib.suppress(ConnectionResetError):
            while slow.recv(65536):
                pass


def test_paths_are_cut_out_of_messages(tmp_path):
    assert without_paths("/home/me/videos/a b.mp4: is broken") == "a b.mp4: is broken"
    assert (
        without_paths(f"store {tmp_path}: has no model; see {tmp_path}/x", tmp_path)
        == "this store: has no model; see x"
    )
    assert (
        without_paths("1/2 of 3, and/or https://example.org/a/b")
        == "1/2 of 3, and/or https://example.org/a/b"
    )
