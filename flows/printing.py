"""Printing of a store's videos and figures: one JSON document, or lines for people, on standard output."""

from __future__ import annotations

import json
from typing import Annotated, Any

from cyclopts import Parameter

from multimodal.catalogue import Catalogue, status_document

JsonOption = Annotated[
    bool, Parameter(name="--json", help="One JSON document for programs.", negative=(), show_default=False)
]


def print_videos(catalogue: Catalogue) -> None:
    for v in status_document(catalogue)["videos"]:
        held = f"{v['seconds'] or 0:7.1f} s {v['clips'] or 0:4d} clips {v['sentences'] or 0:4d} sentences"
        print(f"{v['state']:<8}{held}  {v['name']}{'  (' + v['reason'] + ')' if v['reason'] else ''}")


def print_figures(figures: dict[str, dict]) -> None:
    """``figures``: those of an evaluation, by name."""
    from multimodal.web.results import figures_table

    if figures:
        print("\n".join(figures_table(figures)))
    else:
        print("No figures: fewer than ten videos could be seen, so none was held out to judge by.")


def print_json(document: Any) -> None:
    print(json.dumps(document, ensure_ascii=False))
