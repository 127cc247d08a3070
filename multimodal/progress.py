"""Progress reports: the callback by which long work tells how far it is."""

from collections.abc import Callable

Report = Callable[[int, int, str], None]
"""Arguments: units done, units in all, a few words for the person who waits."""
