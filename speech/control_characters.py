"""Characters that steer a terminal or the order of a line. Words never need them, and text from outside loses them."""

from __future__ import annotations

import re

STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066\u2067\ufff9-\ufffb]")
"""C0 but tab and line feed, DEL, C1, other line ends, embeddings, overrides and isolates of direction, annotations.

Not the isolate of unknown direction (U+2068, U+2069), which keeps a text apart from what stands beside it.
"""


def without_controls(text: str) -> str:
    """The text without characters that steer; one that parts words becomes a space."""
    return STEERING.sub(lambda found: " " if found[0].isspace() else "", text)
