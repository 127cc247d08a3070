"""Runs a command on a kernel that lacks a system call, as old ones do: `python old_kernel.py NUMBER COMMAND...`."""

import ctypes
import errno
import os
import struct
import sys

from multimodal.intake.system_calls import ALLOW, EQUAL, FAIL, LOAD, RETURN

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, FILTER = 38, 22, 2

number, *command = sys.argv[1:]
steps = [
    (LOAD, 0, 0, 0),
    (EQUAL, 0, 1, int(number)),
    (RETURN, 0, 0, FAIL | errno.ENOSYS),
    (RETURN, 0, 0, ALLOW),
]
code = b"".join(struct.pack("<HBBI", *step) for step in steps)
held = ctypes.create_string_buffer(code, len(code))
program = ctypes.create_string_buffer(struct.pack("@HP", len(steps), ctypes.addressof(held)))
library = ctypes.CDLL(None, use_errno=True)
assert library.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
assert library.prctl(PR_SET_SECCOMP, FILTER, ctypes.c_void_p(ctypes.addressof(program)), 0, 0) == 0
os.execv(command[0], command)
