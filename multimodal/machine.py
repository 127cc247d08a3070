"""What the machine gives: its cores. And what it refuses: memory, or the right to a file, which is no fault of what was read."""

from __future__ import annotations

import errno
import math
import os
from pathlib import Path

CONTROL_GROUPS = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")

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


def cores() -> int:
    """The processor cores that this process may use, one at least: those of its affinity (taskset, Slurm, a cpuset), and no more
    than the quota of its control groups pays for (a container with a limit)."""
    try:
        allowed = len(os.sched_getaffinity(0))
    except AttributeError:  # another system than Linux
        allowed = os.cpu_count() or 1
    return max(1, math.ceil(min(allowed, _quota())))


def _quota() -> float:
    """Cores that the control groups of this process pay for, the least along their paths; infinite without a limit.

    Version 2 has one group for all controllers, version 1 one for each. Inside a container the path may be that of the host,
    and the mount's own folder is the container's group.
    """
    found = math.inf
    try:
        groups = [line.split(":", 2) for line in OWN_GROUPS.read_text().splitlines()]
    except OSError:
        return found
    for _, controllers, path in groups:
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = CONTROL_GROUPS / "cpu" if controllers else CONTROL_GROUPS
        group = mount / path.lstrip("/")
        for place in (group, *group.parents):
            found = min(found, _quota_of(place))
            if place == mount:
                break
    return found


def _quota_of(group: Path) -> float:
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        try:
            quota, period = " ".join((group / name).read_text() for name in names).split()
            if quota != "max" and int(quota) > 0:
                return int(quota) / int(period)
        except (OSError, ValueError):
            continue
    return math.inf


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
