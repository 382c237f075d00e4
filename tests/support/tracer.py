"""Runs a process with something injected into one of its system calls, as `strace -f` does it.

strace stops a process at each of its thousands of system calls to send a signal at one; with its
filter (--seccomp-bpf) it loses the signals: what a tracer passes on at the stop of a filter is
ignored by the kernel. Here a filter lets all calls pass but those of one kind, and signals are
sent. The words and the moment are those of strace. strace counts the calls of each thread by
itself, so that the first calls of a second thread hide those of the first; here all threads of a
process are counted together, and n = 1, 2, … strikes every one of its calls.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import signal
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

MACHINE = "x86_64"
CALLS = {
    "connect": 42,
    "flock": 73,
    "fsync": 74,
    "ftruncate": 77,
    "link": 86,
    "mkdir": 83,
    "pwrite64": 18,
    "recvfrom": 45,
    "rename": 82,
    "rmdir": 84,
    "sendto": 44,
    "unlink": 87,
    "unlinkat": 263,
    "write": 1,
}
"""Their numbers on that machine, from <asm/unistd_64.h>."""
TKILL = 200
ARCHITECTURE = 0xC000003E  # AUDIT_ARCH_X86_64
RESULT, NUMBER = 80, 120  # where a tracer finds the registers rax and orig_rax

POKE_REGISTER, CONTINUE, SEIZE, LISTEN = 6, 7, 0x4206, 0x4208  # PTRACE_…
FORK, VFORK, CLONE, SECCOMP, EXITKILL = 1 << 1, 1 << 2, 1 << 3, 1 << 7, 1 << 20  # PTRACE_O_…
FILTERED, STOPPED = 7, 128  # PTRACE_EVENT_SECCOMP, PTRACE_EVENT_STOP
GROUP_STOPS = (signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
ALL = 0x40000000  # __WALL

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


class Instruction(ctypes.Structure):
    """A `sock_filter`."""

    _fields_ = [
        ("code", ctypes.c_uint16),
        ("if_true", ctypes.c_uint8),
        ("if_false", ctypes.c_uint8),
        ("operand", ctypes.c_uint32),
    ]


class Program(ctypes.Structure):
    """A `sock_fprog`."""

    _fields_ = [("length", ctypes.c_uint16), ("filter", ctypes.POINTER(Instruction))]


@dataclass(frozen=True)
class Injection:
    """What happens at a process's n-th system call of one kind, or at each from there on."""

    call: str
    signal: signal.Signals | None
    error: int | None
    first: int
    lasting: bool

    @staticmethod
    def parse(call: str, text: str) -> Injection:
        """From the words of strace: `signal=SIGKILL:when=3`, `error=EIO:when=3+`."""
        found = re.fullmatch(r"(signal|error)=([A-Z]+):when=([0-9]+)(\+?)", text)
        assert found, text
        kind, name, first, lasting = found.groups()
        number = signal.Signals[name] if kind == "signal" else None
        error = getattr(errno, name) if kind == "error" else None
        return Injection(call, number, error, int(first), lasting == "+")

    def hits(self, count: int) -> bool:
        return count >= self.first if self.lasting else count == self.first

    def inject(self, thread: int) -> None:
        """Into a thread that stopped when it entered the call."""
        if self.signal is not None:
            libc.syscall(TKILL, thread, int(self.signal))
        if self.error is not None:
            libc.ptrace(POKE_REGISTER, thread, NUMBER, -1)
            libc.ptrace(POKE_REGISTER, thread, RESULT, -self.error)


def trace(become: Callable[[], None], injection: Injection) -> tuple[int, bool]:
    """The wait status of a new process that becomes what it is told to, when all that it has
    started has ended, and whether any made the call so often; if this process is killed, all are.
    """
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(tell)
        if os.read(told, 1):
            os.close(told)
            _become(become, CALLS[injection.call])
        os._exit(127)
    os.close(told)
    options = FORK | VFORK | CLONE | SECCOMP | EXITKILL
    refused = libc.ptrace(SEIZE, child, None, options)
    error = ctypes.get_errno()
    if not refused:
        os.write(tell, b"!")
    os.close(tell)
    ended = _follow(child, injection)
    if refused:
        raise OSError(error, f"cannot trace: {os.strerror(error)}")
    return ended


def _become(become: Callable[[], None], number: int) -> None:
    try:
        _install_filter(number)
        become()
    except BaseException:
        traceback.print_exc()
    os._exit(127)


def _install_filter(number: int) -> None:
    """SECCOMP_RET_TRACE for the calls of that number, SECCOMP_RET_ALLOW for all others."""
    load, jump_if_equal, give = 0x20, 0x15, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_RET|K
    instructions = (Instruction * 6)(
        Instruction(load, 0, 0, 4),  # seccomp_data.arch
        Instruction(jump_if_equal, 0, 3, ARCHITECTURE),
        Instruction(load, 0, 0, 0),  # seccomp_data.nr
        Instruction(jump_if_equal, 0, 1, number),
        Instruction(give, 0, 0, 0x7FF00000),
        Instruction(give, 0, 0, 0x7FFF0000),
    )
    program = Program(len(instructions), instructions)
    set_no_new_privileges, set_seccomp, mode_filter = 38, 22, 2
    if libc.prctl(set_no_new_privileges, 1, 0, 0, 0) or libc.prctl(
        set_seccomp, mode_filter, ctypes.byref(program)
    ):
        raise OSError(ctypes.get_errno(), "cannot install the filter")


def _follow(main_process: int, injection: Injection) -> tuple[int, bool]:
    counts = Counter[int]()
    ended, reached = -1, False
    while True:
        try:
            thread, status = os.waitpid(-1, ALL)
        except ChildProcessError:
            return ended, reached
        if not os.WIFSTOPPED(status):
            counts.pop(thread, None)
            ended = status if thread == main_process else ended
            continue
        event, stop = status >> 16, os.WSTOPSIG(status)
        if event == FILTERED:
            process = _process_of(thread)
            counts[process] += 1
            if injection.hits(counts[process]):
                reached = True
                injection.inject(thread)
        # Whom another thread's end has killed meanwhile does not stop any more: then these fail.
        if event == STOPPED and stop in GROUP_STOPS:
            libc.ptrace(LISTEN, thread, None, None)
        else:
            libc.ptrace(CONTINUE, thread, None, 0 if event else stop)


def _process_of(thread: int) -> int:
    status = Path(f"/proc/{thread}/status").read_text()
    return int(status.partition("\nTgid:")[2].split()[0])
