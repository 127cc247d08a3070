"""Safety of every request: Host and Origin, the token, sizes, stalled clients, and the headers of every answer.

Against DNS rebinding a request must name an address, ``localhost`` or this machine; another site's page can name only
its own. Against cross-site requests whatever changes something must come from a page of this server, or from a program.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import socket
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from multimodal.serve import problems
from multimodal.serve.options import ServeOptions, is_loopback
from multimodal.serve.problems import Problem

COOKIE = "videobert"
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
COOKIE_SECONDS = 30 * 24 * 3600
UPLOADS = ("/api/videos", "/api/search/picture", "/results/picture", "/api/search/clip", "/results/clip")
"""The addresses that take a large body; each has a limit of its own."""
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self' blob:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


class Safety:
    """The outermost part of the server: what is not allowed ends here."""

    def __init__(self, app: ASGIApp, options: ServeOptions):
        self.app, self.options = app, options
        self._own_names = {"localhost", options.host.lower()}
        if not is_loopback(options.host):
            self._own_names |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        guarded = _Guarded(self.options.limits.stalled, self._most(scope), receive, send)
        try:
            headers = Headers(scope=scope)
            self._check_host(headers)
            self._check_origin(scope, headers)
            if (redirect := self._check_token(scope, headers)) is not None:
                await redirect(scope, guarded.receive, guarded.send)
                return
            self._check_size(scope, headers)
            await self.app(scope, guarded.receive, guarded.send)
        except Problem as problem:
            if not guarded.began:
                await problems.response(problem)(scope, guarded.receive, guarded.send)
        except ClientDisconnect:
            pass

    def _most(self, scope: Scope) -> int:
        limits = self.options.limits
        if scope["method"] == "POST" and scope["path"] in UPLOADS:
            if scope["path"] == UPLOADS[0]:
                return limits.upload
            return limits.clip if scope["path"].endswith("/clip") else limits.picture
        return limits.body

    def _check_host(self, headers: Headers) -> None:
        host = _host_of(headers.get("host", ""))
        if host not in self._own_names and not _is_address(host):
            raise Problem(
                421,
                f"Host {headers.get('host', '')[:100]!r}: is not this server; open it by its address or as localhost",
            )

    def _check_origin(self, scope: Scope, headers: Headers) -> None:
        if scope["method"] in SAFE_METHODS:
            return
        # A picture is a question, which is too long for an address.
        if self.options.read_only and scope["path"] not in UPLOADS[1:]:
            raise Problem(403, "this server only reads (--read-only); nothing is changed")
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if origin is not None:
            parts = urlsplit(origin) if origin.isascii() else None
            if parts is None or parts.netloc.lower() != headers.get("host", "").lower():
                raise Problem(403, f"Origin {origin[:100]!r}: another site may change nothing here")
        elif site not in (None, "same-origin"):
            raise Problem(403, f"Sec-Fetch-Site {site[:100]!r}: another site may change nothing here")

    def _check_token(self, scope: Scope, headers: Headers) -> RedirectResponse | None:
        """A redirect that turns the token of an address into a cookie; ``None`` where the request may go on."""
        token = self.options.token
        if token is None:
            return None
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = [value for name, value in query if name == "token"]
        if given and scope["method"] == "GET" and _same(given[0], token):
            rest = urlencode([(name, value) for name, value in query if name != "token"])
            # By the path alone: an address such as //elsewhere would lead away.
            path = "/" + scope["path"].lstrip("/")
            redirect = RedirectResponse(path + (f"?{rest}" if rest else ""), 303)
            redirect.set_cookie(
                COOKIE, token, max_age=COOKIE_SECONDS, httponly=True, samesite="strict",
                secure=scope.get("scheme") == "https",
            )  # fmt: skip
            return redirect
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and _same(bearer.strip(), token):
            return None
        if _same(_cookie(headers), token):
            return None
        raise Problem(
            401,
            "a token is needed: open the address that `videobert serve` printed, or send it as Authorization: Bearer",
            {"www-authenticate": "Bearer"},
        )

    def _check_size(self, scope: Scope, headers: Headers) -> None:
        length, most = headers.get("content-length", "0"), self._most(scope)
        if not length.isdecimal() or int(length[:20]) > most:
            raise Problem(413, f"the body has {length[:20]} bytes; at most {most} are taken")


class _Guarded:
    """A request's two ends: the body is counted, either end may stall only so long, each answer gets :data:`HEADERS`."""

    def __init__(self, stalled: float, most: int, receive: Receive, send: Send):
        self._stalled, self._most, self._receive, self._send = stalled, most, receive, send
        self._taken, self._whole, self.began = 0, False, False

    async def receive(self) -> Message:
        if self._whole:  # only the end of the connection is waited for
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), self._stalled)
        except TimeoutError:
            raise Problem(408, f"nothing came for {self._stalled:g} s", {"connection": "close"}) from None
        if message["type"] == "http.request":
            self._taken += len(message.get("body", b""))
            self._whole = not message.get("more_body", False)
            if self._taken > self._most:
                raise Problem(413, f"the body has more than {self._most} bytes", {"connection": "close"})
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.began = True
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("cache-control", "no-store")
        try:
            await asyncio.wait_for(self._send(message), self._stalled)
        except TimeoutError:
            raise ClientDisconnect from None


def _host_of(host: str) -> str:
    """The name in a Host header, without its port."""
    host = host.strip().lower()
    if host.startswith("["):
        inner, _, port = host[1:].partition("]")
        return inner if not port or port[1:].isdecimal() else ""
    return host.rpartition(":")[0] if host.count(":") == 1 else host


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _cookie(headers: Headers) -> str:
    cookies: Any = SimpleCookie()
    try:
        cookies.load(headers.get("cookie", ""))
    except Exception:  # noqa: BLE001 - a malformed cookie is none
        return ""
    return cookies[COOKIE].value if COOKIE in cookies else ""


def _same(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode(), token.encode())
