"""Confinement of the child that reads what others made: it reads the files of its request, writes and starts nothing, reaches nobody.

Two parts of the Linux kernel do it, both for good and without special rights: Landlock (5.13 and later), which files a
process may open, and seccomp, which system calls it may make (:mod:`multimodal.intake.system_calls`). The folders of Python's
own code stay readable, since libraries import some of their modules late. Names and sizes of other files can still be
asked for (``stat``); their content cannot.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import site
import socket
import stat
import struct
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from multimodal.intake import system_calls
from multimodal.store import InputError

PR_SET_NO_NEW_PRIVS, PR_GET_SECCOMP = 38, 21
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
"""Landlock's system calls, which have these numbers on every processor."""
VERSION_FLAG, RULE_PATH_BENEATH = 1, 1
READ_FILE, READ_DIR = 1 << 2, 1 << 3
RIGHTS = ((1, (1 << 13) - 1), (2, 1 << 13), (3, 1 << 14), (5, 1 << 15))
"""The rights over files that a version of Landlock and the later ones know: all of them are taken away."""
TCP_VERSION, TCP_RIGHTS = 4, 0b11
SCOPE_VERSION, SCOPES = 6, 0b11
"""Of version 4 on binding and connecting TCP sockets, of version 6 on abstract sockets and signals of other processes."""
PROCESSOR = ("/proc/cpuinfo", "/sys/devices/system/cpu")
"""What libraries read, at their first work, to choose their instructions."""
OURS = ("vision", "speech", "multimodal", "flows")


class ConfinementError(RuntimeError):
    """A part of the confinement that this system has could not be applied."""


def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def landlock_version() -> int:
    """The version of Landlock's interface, 0 where the kernel lacks it or has it switched off."""
    return max(0, _library().syscall(CREATE_RULESET, None, 0, VERSION_FLAG))


def missing() -> list[str]:
    """The parts of the confinement that this system lacks, in words; none where all are there."""
    found = []
    if not landlock_version():
        found.append(
            "Landlock (Linux 5.13 or later, switched on), which keeps a decoder from reading other files"
        )
    if system_calls.machine() is None or _library().prctl(PR_GET_SECCOMP, 0, 0, 0, 0) < 0:
        found.append(
            "seccomp (Linux on x86-64 or ARM64), which keeps a decoder from the network and other programs"
        )
    return found


def require_confinement(wanted: bool | None) -> None:
    """Raises :class:`~multimodal.store.InputError` where confinement is ``wanted`` and this system lacks a part of it."""
    if wanted and (lacking := missing()):
        raise InputError(
            f"--require-confinement: this machine lacks {' and '.join(lacking)}; use a newer kernel, or "
            "--no-require-confinement for files that you trust"
        )


def confine(files: Iterable[Path], cpu_seconds: int | None) -> None:
    """Confines this process for good, with its threads to come: it may read ``files`` and nothing else of anybody's.

    To be called with one thread, after the imports. ``cpu_seconds``: a limit of computing time. Parts that the system lacks
    are left out (:func:`missing` names them). Raises :class:`ConfinementError` where one that is there cannot be applied.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    if cpu_seconds is not None:
        # SIGXCPU, which names itself, and a second later SIGKILL for whoever ignored it.
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 1))
    library = _library()
    if library.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise ConfinementError(f"no_new_privs: {os.strerror(ctypes.get_errno())}")
    if version := landlock_version():
        # Landlock binds the thread that calls it and those that it starts later.
        if len(os.listdir("/proc/self/task")) > 1:  # noqa: PTH208 - no names are needed
            raise ConfinementError("a library has started a thread, which Landlock would not bind")
        _restrict_files(library, version, files)
    if system_calls.machine() is not None and library.prctl(PR_GET_SECCOMP, 0, 0, 0, 0) >= 0:
        system_calls.install(library)


def _restrict_files(library: ctypes.CDLL, version: int, files: Iterable[Path]) -> None:
    rights = sum(bits for since, bits in RIGHTS if version >= since)
    tcp = TCP_RIGHTS if version >= TCP_VERSION else 0
    scopes = SCOPES if version >= SCOPE_VERSION else 0
    attributes = struct.pack("<QQQ", rights, tcp, scopes)
    # A kernel refuses attributes that are longer than it knows, unless the rest is 0.
    ruleset = _checked(library.syscall(CREATE_RULESET, attributes, len(attributes), 0), "a Landlock ruleset")
    try:
        for place, allowed in _readable(files):
            rule = struct.pack("<Qi", allowed, place)
            _checked(library.syscall(ADD_RULE, ruleset, RULE_PATH_BENEATH, rule, 0), "a Landlock rule")
            os.close(place)
        _checked(library.syscall(RESTRICT_SELF, ruleset, 0), "Landlock")
    finally:
        os.close(ruleset)


def _checked(result: int, what: str) -> int:
    if result < 0:
        raise ConfinementError(f"{what} was refused ({os.strerror(ctypes.get_errno())})")
    return result


def _readable(files: Iterable[Path]) -> Iterator[tuple[int, int]]:
    """Descriptors of what may be read, and the rights over each: the regular ``files``, the folders of code."""
    known = code_folders()
    for path in [*known, *files]:
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue  # whoever reads it says so
        mode = os.fstat(place).st_mode
        if stat.S_ISREG(mode):
            yield place, READ_FILE
        elif stat.S_ISDIR(mode) and path in known:
            yield place, READ_FILE | READ_DIR
        else:
            os.close(place)


def code_folders() -> list[Path]:
    """The folders of Python's library, of installed packages, and our own four; and what describes the processor."""
    own = Path(__file__).resolve().parents[2]
    paths = sysconfig.get_paths()
    installed = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    found = [
        *installed,
        *site.getsitepackages(),
        site.getusersitepackages(),
        *(own / name for name in OURS),
        *PROCESSOR,
    ]
    return [Path(path) for path in dict.fromkeys(map(str, found))]


def escapes() -> list[str]:
    """What this process can do that a confined one cannot, in words; to be asked in the child."""
    attempts: dict[str, Callable[[], object]] = {
        "read other files": lambda: Path("/etc/passwd").read_bytes(),
        "write files": lambda: os.close(os.open("/dev/null", os.O_WRONLY)),
        "open sockets": lambda: socket.socket().close(),
        "start programs": lambda: os.posix_spawn("/bin/true", ["true"], {}),
    }
    found = []
    for words, attempt in attempts.items():
        with contextlib.suppress(PermissionError):
            attempt()
            found.append(words)
    return found
