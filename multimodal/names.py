"""Names that people give: exact, in another case, or shortened to an unambiguous beginning; and the nearest where none fits."""

from __future__ import annotations

import difflib
import heapq
from collections.abc import Collection, Iterable, Sequence

MOST_NEAREST = 3
LEAST_HELD = 3
"""Letters of a text that a near name holds as they are; fewer are in too many names."""
MOST_COMPARED = 1000
"""Names that are compared letter by letter, which takes a hundred times as long as a look for trigrams."""
MOST_TRIGRAMS = 100
LEAST_SIMILARITY = 0.6
"""Of :func:`difflib.get_close_matches`; its own default."""


def meant(text: str, names: Iterable[str]) -> list[str]:
    """The names that ``text`` can mean: itself, else those that differ in case alone, else those that begin with it."""
    names, wanted = list(dict.fromkeys(names)), text.casefold()
    if text in names or not text:
        return [text] if text else []
    return [name for name in names if name.casefold() == wanted] or [
        name for name in names if name.casefold().startswith(wanted)
    ]


def nearest(text: str, names: Iterable[str]) -> list[str]:
    """Up to three names near ``text``: those that hold it, then those of the most similar spelling."""
    wanted = text.casefold()
    by_case = {name.casefold(): name for name in names}
    holding = sorted((name for name in by_case if len(wanted) >= LEAST_HELD and wanted in name), key=len)
    compared = _sharing_most(wanted, by_case)
    similar = difflib.get_close_matches(wanted, compared, MOST_NEAREST, LEAST_SIMILARITY)
    return [by_case[name] for name in dict.fromkeys([*holding, *similar])][:MOST_NEAREST]


def _sharing_most(wanted: str, names: Collection[str]) -> Collection[str]:
    """Of more names than are compared letter by letter, those that hold most of the text's trigrams (Ukkonen 1992)."""
    if len(names) <= MOST_COMPARED:
        return names
    grams = {wanted[i : i + 3] for i in range(min(max(len(wanted) - 2, 1), MOST_TRIGRAMS))}
    return heapq.nlargest(MOST_COMPARED, names, key=lambda name: sum(gram in name for gram in grams))


def did_you_mean(text: str, names: Iterable[str]) -> str:
    """`` (did you mean a, b or c?)``, or nothing where no name is near."""
    found = nearest(text, names)
    return f" (did you mean {either(found)}?)" if found else ""


def listed(names: Sequence[str], most: int, between: str = ", ") -> str:
    """``a, b and 3 more``: the first ``most`` names, and how many there are besides."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return between.join(names[:most]) + more


def either(names: Sequence[str]) -> str:
    """``a, b or c``."""
    return " or ".join([*filter(None, [", ".join(names[:-1])]), *names[-1:]])
