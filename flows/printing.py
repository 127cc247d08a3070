"""Owns what commands print: one JSON document, or lines for people, on standard output."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from multimodal.catalogue import Catalogue
from multimodal.store import Store
from multimodal.web.evaluation import figures_table

if TYPE_CHECKING:
    from multimodal.answers.search import Hit

JsonOption = Annotated[bool, Parameter(name="--json", help="One JSON document for programs.", negative=())]


def status_of(store: Store) -> dict[str, Any]:
    fields = ("video", "name", "state", "reason", "seconds", "clips", "sentences")
    with Catalogue(store.catalogue) as catalogue:
        videos = [{f: getattr(v, f) for f in fields} for v in catalogue.videos()]
        current = {kind: catalogue.current(kind) for kind in ("codebook", "model")}
        return {"videos": videos, **current, "runs": catalogue.runs()}


def print_videos(store: Store) -> None:
    for v in status_of(store)["videos"]:
        held = f"{v['seconds'] or 0:7.1f} s {v['clips'] or 0:4d} clips {v['sentences'] or 0:4d} sentences"
        print(f"{v['state']:<8}{held}  {v['name']}{'  (' + v['reason'] + ')' if v['reason'] else ''}")


def figures(store: Store) -> dict[str, Any]:
    with Catalogue(store.catalogue) as catalogue:
        name = catalogue.current("evaluation")
    return json.loads((store.root / "evaluations" / name).read_text()) if name else {}


def print_figures(store: Store) -> None:
    found = figures(store)
    if not found:
        print("No figures: fewer than ten videos could be seen, so none was held out to judge by.")
        return
    print("\n".join(figures_table(found)))


def hit_lines(hits: Sequence[Hit]) -> list[str]:
    return [
        f"{n}. {hit.name} {clock(hit.start)}–{clock(hit.end)}  {hit.score:.4f} = {_why(hit)}  {hit.text or '(nobody speaks)'}"
        for n, hit in enumerate(hits, 1)
    ]


def _why(hit: Hit) -> str:
    """The parts of a hit's score, each with what speaks for it."""
    parts = []
    if hit.heard:
        parts.append(f"heard {hit.heard:.4f}{' (' + ', '.join(hit.words) + ')' if hit.words else ''}")
    if hit.seen:
        fits = "" if hit.alignment is None else f", fits {hit.alignment:.2f}"
        parts.append(f"seen {hit.seen:.4f} (no. {hit.sight_rank} by sight, cosine {hit.cosine:.2f}{fits})")
    return " + ".join(parts)


def print_json(document: Any) -> None:
    print(json.dumps(document, ensure_ascii=False))


def clock(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}:{rest:04.1f}"
