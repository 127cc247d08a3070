"""Progress reports: the callback by which long work tells how far it is, and announcements of what it waits for."""

from __future__ import annotations

from collections.abc import Callable

Report = Callable[[int, int, str], None]
"""Arguments: units done, units in all, a few words for the person who waits."""

_listener: Callable[[str, str], None] = lambda what, amount: None  # noqa: E731 - replaced by `listen`


def announce(what: str, amount: str = "") -> None:
    """Says what is begun that counts no units, such as loading a model; ``amount``: how far it is, such as bytes of all.

    Model caches and downloads are reached from many places that know no :data:`Report`, so there is one listener for the
    process, as for a log.
    """
    _listener(what, amount)


def listen(listener: Callable[[str, str], None]) -> None:
    """Sets the listener of :func:`announce`."""
    global _listener
    _listener = listener
