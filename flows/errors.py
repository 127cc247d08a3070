"""The errors that are printed as one line for a person; any other exception is a defect and shows its traceback."""

import errno
import sqlite3

from multimodal.disk import out_of_space
from multimodal.machine import PASSING, out_of_memory
from multimodal.store import InputError
from multimodal.weights.errors import WeightsUnavailable
from speech.errors import SpeechError
from vision.errors import VisionError

FOR_PEOPLE = (InputError, SpeechError, VisionError)
KEPT = "and run again, what was done is kept"


class ProcessLost(InputError):
    """A process of a training ended before the training did."""

    def __init__(self, how: str):
        super().__init__(f"{how}; run again, the training goes on from its last checkpoint")


def can_heal(error: BaseException) -> bool:
    """Whether the same may succeed later without anybody's doing: no memory, no place that gave weights, a server too busy, a
    training process that was killed."""
    return (
        isinstance(error, (WeightsUnavailable, ProcessLost))
        or out_of_memory(error)
        or _server_fault(error) is not None
    )


def line_of(error: BaseException) -> str | None:
    """The line that tells a person what happened and what to do; ``None`` for a defect of ours."""
    if isinstance(error, FOR_PEOPLE):
        return str(error)
    if out_of_space(error):
        return f"disk full: {error}; free some space {KEPT}"
    if out_of_memory(error):
        return (
            f"out of memory: {str(error) or 'none is left'}; give more, or read each step in N parts (--accumulate N), with fewer "
            f"--workers or a smaller --size, {KEPT}"
        )
    if (fault := _server_fault(error)) is not None:
        return f"Prefect's server cannot keep its records (status {fault}); see that it has space and runs, {KEPT}"
    if (refused := _refused(error)) is not None:
        return f"{refused}; see that the disk is there and may be written, {KEPT}"
    if isinstance(error, sqlite3.DatabaseError):
        return f"a database of the store cannot be read ({error}); `videobert doctor` says which"
    return None


def _server_fault(error: BaseException) -> str | None:
    """The status of 500 and above that Prefect's server answered with; ``None`` for other errors. Its client raises HTTPX's error
    or one derived from it; neither is imported here, where help texts need neither."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    ours = any(base.__name__ == "HTTPStatusError" for base in type(error).__mro__)
    return f"{status}" if ours and status is not None and status >= 500 else None


def _refused(error: BaseException) -> str | None:
    """What the file system refused, by name where it is known; ``None`` for other errors."""
    if isinstance(error, OSError) and error.errno in (*PASSING, errno.EIO):
        return f"{error.filename or 'a file of the store'}: {error.strerror}"
    if isinstance(error, sqlite3.OperationalError):
        code = (error.sqlite_errorcode or 0) & 0xFF
        if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN):
            return f"a database of the store: {error}"
    # safetensors gives the system's number as text alone.
    if any(f"(os error {number})" in str(error) for number in (*PASSING, errno.EIO)):
        return f"a file of the store: {error}"
    return None
