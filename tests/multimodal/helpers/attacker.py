"""What a decoder that was taken over would try: each function returns what it got, or raises what stopped it."""

import ctypes
import os
import signal
import socket
import threading
from pathlib import Path

PTRACE_ATTACH = 16
LIBC = ctypes.CDLL(None, use_errno=True)


def _checked(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def read_passwords(given, store, port, victim):
    return Path("/etc/passwd").read_text()[:4]


def read_beside(given, store, port, victim):
    return (Path(str(given)).parent / "secret.txt").read_text()


def read_by_another_way(given, store, port, victim):
    return Path(f"/proc/self/root{Path(str(given)).parent}/secret.txt").read_text()


def read_memory_of_another(given, store, port, victim):
    return len(Path(f"/proc/{victim}/environ").read_bytes())


def list_a_folder(given, store, port, victim):
    return [file.name for file in Path(str(store)).iterdir()]


def write_into_the_store(given, store, port, victim):
    return (Path(str(store)) / "planted").write_text("x")


def write_the_given_file(given, store, port, victim):
    with Path(str(given)).open("ab") as file:
        return file.write(b"x")


def make_a_folder(given, store, port, victim):
    (Path(str(store)) / "folder").mkdir()
    return True


def delete_a_file(given, store, port, victim):
    (Path(str(store)) / "deleted").unlink()
    return True


def rename_a_file(given, store, port, victim):
    Path(str(store), "renamed").rename(Path(str(store), "other"))
    return True


def link_a_file(given, store, port, victim):
    Path(str(store), "alias").symlink_to("/etc/passwd")
    return True


def change_rights(given, store, port, victim):
    Path(str(store), "stored").chmod(0o777)
    return True


def truncate_a_file(given, store, port, victim):
    os.truncate(Path(str(store), "stored"), 0)
    return True


def connect(given, store, port, victim):
    with socket.create_connection(("127.0.0.1", port), 5):
        return True


def send_a_datagram(given, store, port, victim):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        return sender.sendto(b"x", ("127.0.0.1", port))


def fork(given, store, port, victim):
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return True


def start_by_clone(given, store, port, victim):
    SYS_clone = {"x86_64": 56}.get(os.uname().machine, 220)
    child = _checked(LIBC.syscall(SYS_clone, int(signal.SIGCHLD), None, None, None, None))
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return True


def run_a_program(given, store, port, victim):
    """In place of this process: where it works, the child's answer is none of ours."""
    os.execv("/bin/true", ["true"])


def attach_to_another(given, store, port, victim):
    _checked(LIBC.ptrace(PTRACE_ATTACH, victim, None, None))
    return True


def read_anothers_memory(given, store, port, victim):
    SYS_process_vm_readv = {"x86_64": 310}.get(os.uname().machine, 270)
    buffer = ctypes.create_string_buffer(8)
    vector = (ctypes.c_size_t * 2)(ctypes.addressof(buffer), 8)
    there = (ctypes.c_size_t * 2)(victim_address(victim), 8)
    return _checked(LIBC.syscall(SYS_process_vm_readv, victim, vector, 1, there, 1, ctypes.c_ulong(0)))


def victim_address(victim):
    """An address that a process has; where its table cannot be read, any."""
    try:
        return int(Path(f"/proc/{victim}/maps").read_text().split("-")[0], 16)
    except OSError:
        return 1 << 12


def kill_another(given, store, port, victim):
    os.kill(victim, signal.SIGTERM)
    return True


def make_itself_readable(given, store, port, victim):
    """PR_SET_DUMPABLE."""
    _checked(LIBC.prctl(4, 1, 0, 0, 0))
    return True


def list_shared_memory(given, store, port, victim):
    return list(Path("/dev/shm").iterdir()) is not None


def memory_as_a_file(given, store, port, victim):
    os.close(os.memfd_create("code"))
    return True


def in_a_thread(given, store, port, victim):
    """A thread of the child is confined as it is."""
    found = []

    def work():
        try:
            found.append(Path("/etc/passwd").read_text())
        except OSError as error:
            found.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if isinstance(found[0], OSError):
        raise found[0]
    return True


ATTACKS = (
    read_passwords, read_beside, read_by_another_way, read_memory_of_another, list_a_folder, write_into_the_store,
    write_the_given_file, make_a_folder, delete_a_file, rename_a_file, link_a_file, change_rights, truncate_a_file, connect,
    send_a_datagram, fork, start_by_clone, read_anothers_memory, attach_to_another, kill_another,
    make_itself_readable, list_shared_memory, memory_as_a_file, in_a_thread, run_a_program,
)  # fmt: skip
"""The last one replaces the process where it works."""


def attack_all(given, store, port, victim):
    """The name of each attack, and what stopped it; nothing where it succeeded."""
    for attack in ATTACKS:
        try:
            assert attack(given, store, port, victim), "got nothing"
            yield [attack.__name__, ""]
        except Exception as error:  # noqa: BLE001 - the test looks at what it is
            yield [attack.__name__, f"{type(error).__name__}: {error}"]


def do_the_work(given):
    """What a decoder does: it reads the file it was given, more than once and in threads, and computes."""
    import numpy as np

    held = []
    threads = [threading.Thread(target=lambda: held.append(given.read_bytes())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"read": held[0], "same": len(set(held)) == 1, "sum": float(np.ones(1000).sum())}


def environment_names():
    return list(os.environ)
