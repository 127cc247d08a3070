"""The system calls that a confined child may make, as a seccomp filter; every other one fails with EPERM.

The list is one of what is allowed, so a call that nobody thought of is refused. There is none in it that makes a socket,
a process or a file, runs a program, or touches another process. Some are allowed for certain arguments alone.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Sequence

SET_MODE_FILTER, SYNCHRONISE_THREADS = 1, 1
LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
"""Instructions of the kernel's packet filters: load 32 bits of the call, compare, return."""
ALLOW, FAIL = 0x7FFF0000, 0x00050000
NUMBER, PROCESSOR, ARGUMENTS = 0, 4, 16
"""Places in `struct seccomp_data`: 4 bytes of number, 4 of processor, and 8 bytes an argument from 16 on."""
MACHINES = {"x86_64": (0xC000003E, 0, 317), "aarch64": (0xC00000B7, 1, 277)}
"""By processor: its number in the kernel's audit, its column in the tables below, and the number of `seccomp` itself."""
X32 = 0x40000000
"""From here on a number is one of the x32 interface of x86-64."""

Instruction = tuple[int, int, int, int]

PLAIN = """
    read 0 63; write 1 64; futex 202 98; lseek 8 62; mmap 9 222; munmap 11 215; mprotect 10 226; brk 12 214; madvise 28 233;
    clock_gettime 228 113; poll 7 -; ppoll 271 73; pread64 17 67; readv 19 65; writev 20 66; preadv 295 69; mremap 25 216;
    fstat 5 80; stat 4 -; lstat 6 -; newfstatat 262 79; statx 332 291; statfs 137 43; fstatfs 138 44; access 21 -;
    faccessat 269 48; faccessat2 439 439; readlink 89 -; readlinkat 267 78; getcwd 79 17; getdents64 217 61; close 3 57;
    dup 32 23; dup2 33 -; dup3 292 24; fadvise64 221 223; flock 73 32; mincore 27 232; membarrier 324 283;
    set_robust_list 273 99; get_robust_list 274 100; rseq 334 293; set_tid_address 218 96; arch_prctl 158 -; gettid 186 178;
    sched_yield 24 124; sched_getaffinity 204 123; sched_getparam 143 121; sched_getscheduler 145 120; getcpu 309 168;
    get_mempolicy 239 236; rt_sigaction 13 134; rt_sigprocmask 14 135; rt_sigreturn 15 139; rt_sigtimedwait 128 137;
    sigaltstack 131 132; restart_syscall 219 128; pause 34 -; exit 60 93; exit_group 231 94; clock_getres 229 114;
    clock_nanosleep 230 115; nanosleep 35 101; gettimeofday 96 169; time 201 -; times 100 153; getrusage 98 165;
    select 23 -; pselect6 270 72; pipe2 293 59; eventfd2 290 19; epoll_create1 291 20; epoll_ctl 233 21; epoll_wait 232 -;
    epoll_pwait 281 22; getrandom 318 278; getpid 39 172; getppid 110 173; getuid 102 174; geteuid 107 175; getgid 104 176;
    getegid 108 177; uname 63 160; sysinfo 99 179; getrlimit 97 163
"""
"""Allowed whatever their arguments: name, number on x86-64, on ARM64; a line where a processor lacks the call."""
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
THREAD, NAMESPACES = 0x00010000, 0x7E020080
"""Flags of clone: a thread of this process, and what a process of its own in new namespaces would have."""
COMMANDS = (0, 1, 2, 3, 4, 1030)
"""Of fcntl: duplicating a descriptor, its flags. Not: who is sent a signal when it is ready."""
REQUESTS = (0x5401, 0x5421, 0x541B, 0x5450, 0x5451)
"""Of ioctl: is it a terminal, how much can be read, flags. Not: typing into a terminal."""
NAMING = (15, 16, 0x53564D41)
"""Of prctl: names of threads and of memory."""


def machine() -> str | None:
    """The processor, or ``None`` where this table does not know it."""
    name = platform.machine()
    return name if name in MACHINES and struct.calcsize("P") == 8 else None


def program(processor: str, process: int) -> list[Instruction]:
    """The filter for ``processor`` and the process of this id."""
    audit, column, _ = MACHINES[processor]
    numbers = {}
    for row in PLAIN.split(";"):
        name, *both = row.split()
        if both[column] != "-":
            numbers[name] = int(both[column])
    code: list[Instruction] = [
        (LOAD, 0, 0, PROCESSOR),
        (EQUAL, 1, 0, audit),
        *_fail(errno.EPERM),
        (LOAD, 0, 0, NUMBER),
    ]
    if processor == "x86_64":
        code += [(AT_LEAST, 0, 1, X32), *_fail(errno.EPERM)]
    for number in numbers.values():
        code += _on(number, [(RETURN, 0, 0, ALLOW)])
    opening = {"open": ((2, None), 1), "openat": ((257, 56), 2)}
    for calls, place in opening.values():
        code += _on(
            calls[column], [*_argument(place), (ANY_BIT, 0, 1, WRITING), *_fail(errno.EACCES), _ALLOWED]
        )
    code += _on((56, 220)[column], [
        *_argument(0), (ANY_BIT, 0, 2, THREAD), (ANY_BIT, 1, 0, NAMESPACES), _ALLOWED, *_fail(errno.EPERM),
    ])  # fmt: skip
    # glibc falls back on clone, whose flags a filter can see.
    code += _on(435, _fail(errno.ENOSYS))
    for calls, place, values in (
        ((72, 25), 1, COMMANDS), ((16, 29), 1, REQUESTS), ((157, 167), 0, NAMING),
        ((62, 129), 0, (process,)), ((234, 131), 0, (process,)),
    ):  # fmt: skip
        code += _on(calls[column], [*_argument(place), *_one_of(values), *_fail(errno.EPERM)])
    # prlimit64 of this process, asking alone: its third argument, the new limit, is no address.
    asking = [*_argument(0), (EQUAL, 1, 0, 0), *_fail(errno.EPERM)]
    for half in (0, 4):
        asking += [(LOAD, 0, 0, ARGUMENTS + 2 * 8 + half), (EQUAL, 1, 0, 0), *_fail(errno.EPERM)]
    code += _on((302, 261)[column], [*asking, _ALLOWED])
    return [*code, *_fail(errno.EPERM)]


_ALLOWED: Instruction = (RETURN, 0, 0, ALLOW)


def _fail(error: int) -> list[Instruction]:
    return [(RETURN, 0, 0, FAIL | error)]


def _argument(place: int) -> list[Instruction]:
    """Loads the lower half of an argument, which is all of it for flags and commands."""
    return [(LOAD, 0, 0, ARGUMENTS + 8 * place)]


def _one_of(values: Sequence[int]) -> list[Instruction]:
    return [step for value in values for step in ((EQUAL, 0, 1, value), _ALLOWED)]


def _on(number: int | None, steps: list[Instruction]) -> list[Instruction]:
    """``steps``, which end in a return, for the call of this number. The number stays loaded for all others."""
    return [] if number is None else [(EQUAL, 0, len(steps), number), *steps]


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_void_p))


def install(library: ctypes.CDLL) -> None:
    """Filters the calls of this process from now on, in all its threads. Raises OSError where the kernel refuses."""
    name = machine()
    assert name is not None, "no table for this processor"
    code = b"".join(struct.pack("<HBBI", *step) for step in program(name, os.getpid()))
    held = ctypes.create_string_buffer(code, len(code))
    filters = _Program(len(code) // 8, ctypes.addressof(held))
    if library.syscall(MACHINES[name][2], SET_MODE_FILTER, SYNCHRONISE_THREADS, ctypes.byref(filters)):
        raise OSError(
            ctypes.get_errno(), f"the seccomp filter was refused: {os.strerror(ctypes.get_errno())}"
        )
