"""Options of an import. Neither numpy nor pyarrow here: the command line reads them for its help texts."""

from __future__ import annotations

import dataclasses
from typing import Literal

from multimodal.store import InputError

Kind = Literal["features", "transcripts", "tokens"]


@dataclasses.dataclass(frozen=True)
class ImportOptions:
    """``kind`` restricts the import to files of that kind.

    ``stride`` is the seconds from one feature to the next, ``fps`` the features a second; both are for files without
    start times. Raises :class:`InputError` where both are given, or one is out of its range.
    """

    kind: Kind | None = None
    stride: float | None = None
    fps: float | None = None

    def __post_init__(self) -> None:
        if self.stride is not None and self.fps is not None:
            raise InputError(
                "--import-fps and --import-stride: each says how far apart features are; give one"
            )
        for name in ("stride", "fps"):
            value = getattr(self, name)
            if value is not None and not 1e-3 <= value <= 1e3:
                raise InputError(f"--import-{name} {value:g}: must be from 0.001 to 1000")

    @property
    def seconds_apart(self) -> float | None:
        """Seconds from one feature to the next."""
        return 1 / self.fps if self.fps else self.stride
