"""What the machine refuses: memory, or the right to a file. Neither is a fault of the file that was being read."""

from __future__ import annotations

import errno

PASSING = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ESTALE,
    errno.ENOTCONN,
    errno.ENODEV,
    errno.EMFILE,
    errno.ENFILE,
}
"""What a file system says that was made read-only or taken away, or that refuses the right, while a run is on it."""
ALLOCATOR = "DefaultCPUAllocator: can't allocate memory"
"""PyTorch's RuntimeError for memory that the system does not give."""
NO_THREAD = "can't start new thread"
"""Python's RuntimeError where there is no memory for the stack of a thread."""


def out_of_memory(error: BaseException | None) -> bool:
    """True where ``error``, or an error that led to it, reports that there is no memory, of this machine or of its GPU."""
    while error is not None:
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            return True
        if isinstance(error, OSError) and error.errno == errno.ENOMEM:
            return True
        # safetensors gives the system's number as text alone.
        if ALLOCATOR in str(error) or NO_THREAD in str(error) or f"(os error {errno.ENOMEM})" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def file_refused(error: BaseException) -> bool:
    """True for an error of the file system that says nothing of a file's bytes."""
    return isinstance(error, OSError) and error.errno in PASSING


def refused_by_machine(error: BaseException) -> bool:
    """True where another try can end otherwise, as the error says nothing of what was read."""
    return out_of_memory(error) or file_refused(error)
