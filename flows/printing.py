"""Printing of a store's videos and figures: one JSON document, or lines for people, on standard output."""

from __future__ import annotations

import json
from typing import Annotated, Any

from cyclopts import Parameter

from multimodal.catalogue import Catalogue
from multimodal.store import Store
from multimodal.web.evaluation import figures_table

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


def print_json(document: Any) -> None:
    print(json.dumps(document, ensure_ascii=False))
