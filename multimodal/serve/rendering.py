"""The templates and the assets of the page, read from the package once; each asset's address holds its digest."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import jinja2
from starlette.responses import Response

from multimodal.answers.display import html_environment
from multimodal.answers.results import clock
from multimodal.serve.documents import picture_address, thumbnail_address
from multimodal.serve.media import FOREVER
from multimodal.vocabulary import visual_name
from multimodal.web.wording import clock as short_clock
from multimodal.web.wording import spoken

HERE = Path(__file__).parent
TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@dataclasses.dataclass(frozen=True)
class Asset:
    data: bytes
    digest: str
    media_type: str


def _assets() -> dict[str, Asset]:
    found = {}
    for path in sorted((HERE / "static").iterdir()):
        if path.suffix in TYPES:
            data = path.read_bytes()
            found[path.name] = Asset(data, hashlib.sha256(data).hexdigest()[:12], TYPES[path.suffix])
    return found


class Renderer:
    """Pages as HTML: all text is escaped."""

    def __init__(self) -> None:
        self.assets = _assets()
        self._templates = html_environment(HERE / "templates")
        self._templates.filters |= {
            "clock": clock,
            "short_clock": short_clock,
            "spoken": spoken,
            "thousands": "{:,}".format,
            "percent": "{:.1%}".format,
        }
        self._templates.globals |= {
            "asset": self.asset_address,
            "thumbnail": thumbnail_address,
            "address": address,
            "at": at,
            "picture": picture_address,
            "token": visual_name,
        }

    def asset_address(self, name: str) -> str:
        return f"/static/{name}?v={self.assets[name].digest}"

    def asset(self, name: str) -> Response | None:
        asset = self.assets.get(name)
        if asset is None:
            return None
        return Response(asset.data, headers={"cache-control": FOREVER}, media_type=asset.media_type)

    def page(self, template: str, status: int = 200, **context: Any) -> Response:
        html = self._template(template).render(**context)
        # Lone surrogates of file names are no UTF-8.
        return Response(html.encode("utf-8", "replace"), status, media_type="text/html")

    def _template(self, name: str) -> jinja2.Template:
        return self._templates.get_template(name)


def address(path: str, **query: Any) -> str:
    """An address on this server; parts of the query that are ``None``, empty or false are left out."""
    said = {name: value for name, value in query.items() if value not in (None, "", False)}
    return quote(path) + (f"?{urlencode(said, errors='replace')}" if said else "")


def at(second: float) -> str:
    """A second as addresses have it: ``62.5``."""
    return f"{max(0.0, second):.1f}".removesuffix(".0")
