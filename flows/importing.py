"""The options of imported files."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from flows.options import CHOICE, IMPORTED
from multimodal.intake.options import ImportOptions, Kind
from multimodal.store import InputError


@Parameter(name="*")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Imports:
    """Files of other programs to import (docs/import.md), and the options for reading them.

    Raises :class:`InputError` for an option that has no effect.
    """

    paths: Annotated[
        tuple[Path, ...],
        Parameter(
            name="--import",
            consume_multiple=True,
            negative=(),
            help="Files of other programs, or folders of them: features (.npy .npz .safetensors .parquet), transcripts "
            "(.vtt .srt .json .csv .parquet) or visual tokens (.csv .parquet).",
            show_default=False,
        ),
        IMPORTED,
    ] = ()
    kind: Annotated[
        Kind | None,
        Parameter(
            name="--import-kind",
            help="Import files of this kind alone; else the ending and the columns decide.",
        ),
        IMPORTED,
        CHOICE,
    ] = None
    stride: Annotated[
        float | None,
        Parameter(
            name="--import-stride",
            help="Seconds from one imported feature to the next, for files without start times.",
        ),
        IMPORTED,
    ] = None
    fps: Annotated[
        float | None,
        Parameter(name="--import-fps", help="Imported features a second, in place of --import-stride."),
        IMPORTED,
    ] = None

    def __post_init__(self) -> None:
        for name in ("kind", "stride", "fps"):
            if getattr(self, name) is not None and not self.paths:
                raise InputError(
                    f"--import-{name} {getattr(self, name)}: has no effect without --import FILE; add it"
                )
        _ = self.options  # checks their values

    @property
    def options(self) -> ImportOptions:
        return ImportOptions(kind=self.kind, stride=self.stride, fps=self.fps)
