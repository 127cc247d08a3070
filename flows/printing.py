"""The one place that prints: lines for people, in which control characters are shown, and JSON documents for programs.

Names, transcripts and reasons come from files of others. A terminal obeys control characters in them: it changes its title,
fills the clipboard, hides text or turns its order round.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Annotated, Any, TextIO

from cyclopts import Parameter

from multimodal.catalogue import Catalogue, status_document
from speech.control_characters import STEERING

JsonOption = Annotated[
    bool, Parameter(name="--json", help="One JSON document for programs.", negative=(), show_default=False)
]


def shown(text: str) -> str:
    """The text with each control character as an escape that can be read, such as ``\\x1b``; line feeds too."""
    return STEERING.sub(_escape, text).replace("\n", "\\n")


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def put(line: str = "", file: TextIO | None = None) -> None:
    """Prints a line, on standard output where no ``file`` is given."""
    print(shown(line), file=file or sys.stdout, flush=file is not None)


def put_text(text: str) -> None:
    """Prints a text of several lines that ends in a line feed, such as a caption file."""
    for line in text.removesuffix("\n").split("\n"):
        put(line)


def print_videos(catalogue: Catalogue) -> None:
    for v in status_document(catalogue)["videos"]:
        held = f"{v['seconds'] or 0:7.1f} s {v['clips'] or 0:4d} clips {v['sentences'] or 0:4d} sentences"
        about = "; ".join(
            filter(None, [v["reason"], v["gone"] and f"its file is gone, found {v['gone']} UTC"])
        )
        put(f"{v['state']:<8}{held}  {v['name']}{'  (' + about + ')' if about else ''}")


def print_figures(figures: dict[str, dict]) -> None:
    """``figures``: those of an evaluation, by name."""
    from multimodal.web.results import figures_table

    if figures:
        for line in figures_table(figures):
            put(line)
    else:
        put("No figures: fewer than ten videos could be seen, so none was held out to judge by.")


def print_json(document: Any) -> None:
    text = json.dumps(document, ensure_ascii=False)
    # JSON's own escapes: a program reads the same text.
    print(STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text))
