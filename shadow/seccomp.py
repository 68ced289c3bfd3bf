"""Deny the calling process system calls that scoring does not need, by the kernel (Linux, x86-64 and AArch64).

It may compute, read files, write to what is open, and start threads. Programs and processes, signals and looking into
other processes, new or changed files, mounts and modules of the kernel end with EPERM; so do new connections, unless
the repository of models is reached by one. See seccomp(2), and userspace-api/seccomp_filter.rst in Linux.
"""

import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from shadow.errors import NoSeccompError

_PR_SET_NO_NEW_PRIVS = 38
_SET_MODE_FILTER, _ALL_THREADS = 1, 1
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
"""BPF: load a word, jump if it is equal, at least, or has any of some bits; end."""
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_NUMBER_AT, _MACHINE_AT, _ARGUMENTS_AT = 0, 4, 16
_X32 = 0x40000000
"""From here on are the calls of x86-64's 32-bit variant, which have numbers of their own."""
_WRITES = 0o1 | 0o2 | 0o100
"""The flags of `open` that write or create."""
_IS_THREAD = 0x100
"""The flag of `clone` by which memory is shared."""

_EVERYWHERE = {"clone3": 435, "io_uring_setup": 425, "io_uring_enter": 426, "openat2": 437}


class _Machine(NamedTuple):
    """A kind of processor: its number in the kernel, its call `seccomp`, and the calls that are denied, by use."""

    number: int
    seccomp: int
    always: Sequence[int]
    connections: Sequence[int]
    opens: Mapping[int, int]
    clone: int


_MACHINES: Mapping[str, _Machine] = MappingProxyType(
    {
        "x86_64": _Machine(
            0xC000003E,
            317,
            (
                *(59, 322, 57, 58),  # execve, execveat, fork, vfork
                *(101, 310, 311, 62),  # ptrace, process_vm_readv, process_vm_writev, kill
                *(85, 87, 263, 82, 264, 316),  # creat, unlink, unlinkat, rename, renameat, renameat2
                *(86, 265, 88, 266, 83, 258, 84),  # link, linkat, symlink, symlinkat, mkdir, mkdirat, rmdir
                *(76, 90, 268, 92, 260),  # truncate, chmod, fchmodat, chown, fchownat
                *(165, 166, 155, 161, 308, 272),  # mount, umount2, pivot_root, chroot, setns, unshare
                *(175, 313, 321, 298, 323),  # init_module, finit_module, bpf, perf_event_open, userfaultfd
                *(248, 249, 250),  # add_key, request_key, keyctl
            ),
            (41, 42, 43, 288, 44, 46, 49, 50),  # socket, connect, accept, accept4, sendto, sendmsg, bind, listen
            {2: 1, 257: 2},  # open, openat: which argument has the flags
            56,
        ),
        "aarch64": _Machine(
            0xC00000B7,
            277,
            (
                *(221, 281),
                *(117, 270, 271, 129),
                *(35, 38, 276),
                *(37, 36, 34),
                *(45, 53, 54),
                *(40, 39, 41, 51, 268, 97),
                *(105, 273, 280, 241, 282),
                *(217, 218, 219),
            ),
            (198, 203, 202, 242, 206, 211, 200, 201),
            {56: 2},
            220,
        ),
    }
)


def restrict(*, connections: bool) -> None:
    """Deny all threads of this process what scoring does not need; with `connections` new ones are allowed.

    It cannot be undone.

    Raises:
        NoSeccompError: it is not possible here; nothing was denied.
    """
    machine = _MACHINES.get(platform.machine())
    if not sys.platform.startswith("linux") or machine is None:
        raise NoSeccompError(f"{sys.platform} on {platform.machine()} is not supported")
    program = _program(machine, connections=connections)
    filters = ctypes.create_string_buffer(b"".join(program))
    header = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(filters)))
    kernel = ctypes.CDLL(None, use_errno=True)
    kernel.syscall.argtypes = [ctypes.c_long, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_void_p]
    if kernel.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise NoSeccompError(f"PR_SET_NO_NEW_PRIVS: {os.strerror(ctypes.get_errno())}")
    if failed := kernel.syscall(machine.seccomp, _SET_MODE_FILTER, _ALL_THREADS, ctypes.addressof(header)):
        said = os.strerror(ctypes.get_errno()) if failed < 0 else f"thread {failed} could not be restricted"
        raise NoSeccompError(f"the kernel refuses the filter: {said}")


def _program(machine: _Machine, *, connections: bool) -> list[bytes]:
    """Return the filter; each step jumps over `yes` or `no` of the next ones."""
    denied, unknown = _step(_RETURN, _ERRNO | errno.EPERM), _step(_RETURN, _ERRNO | errno.ENOSYS)
    allowed = _step(_RETURN, _ALLOW)
    steps = [_step(_LOAD, _MACHINE_AT), _step(_EQUAL, machine.number, yes=1), denied, _step(_LOAD, _NUMBER_AT)]
    steps += [_step(_AT_LEAST, _X32, no=1), denied]
    # The C library falls back to the calls whose arguments can be looked at.
    for number in (_EVERYWHERE["clone3"], _EVERYWHERE["openat2"]):
        steps += [_step(_EQUAL, number, no=1), unknown]
    always = (*machine.always, _EVERYWHERE["io_uring_setup"], _EVERYWHERE["io_uring_enter"])
    for number in (*always, *(() if connections else machine.connections)):
        steps += [_step(_EQUAL, number, no=1), denied]
    for number, argument in machine.opens.items():
        flags = _step(_LOAD, _ARGUMENTS_AT + 8 * argument)
        steps += [_step(_EQUAL, number, no=4), flags, _step(_ANY_BIT, _WRITES, no=1), denied, allowed]
    flags = _step(_LOAD, _ARGUMENTS_AT)
    steps += [_step(_EQUAL, machine.clone, no=4), flags, _step(_ANY_BIT, _IS_THREAD, yes=1), denied, allowed]
    return [*steps, allowed]


def _step(code: int, value: int, *, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("=HBBI", code, yes, no, value)
