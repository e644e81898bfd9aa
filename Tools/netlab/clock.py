"""Gives one process another wall clock.

Time namespaces leave the wall clock alone, and libfaketime needs a dynamic program. But a program asks the time of
the vDSO, a page of code that the kernel maps into each process; here that code is replaced in one process, before its
first instruction, by the plain system call with an offset added to its answer. The other clocks stay what they are."""

import ctypes
import os
import platform
import re
import struct

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
PTRACE_TRACEME, PTRACE_POKETEXT, PTRACE_DETACH = 0, 4, 17


def is_possible():
    """Whether this module knows the machine's instructions."""
    return platform.machine() == "x86_64"


def request():
    """In the child, before it executes the program: lets the parent change it when it begins."""
    LIBC.ptrace(PTRACE_TRACEME, 0, None, None)


def code(seconds):
    """clock_gettime(edi: clock, rsi: result), the seconds added when the clock is CLOCK_REALTIME, which is 0."""
    return (b"\xb8\xe4\x00\x00\x00"                         # mov eax, 228
            b"\x0f\x05"                                     # syscall
            b"\x85\xc0\x75\x11"                             # test eax, eax; jnz end
            b"\x85\xff\x75\x0d"                             # test edi, edi; jnz end
            b"\x48\xb9" + struct.pack("<q", seconds) +      # mov rcx, seconds
            b"\x48\x01\x0e"                                 # add [rsi], rcx
            b"\xc3")                                        # end: ret


def base(pid):
    """Where the vDSO begins in a process."""
    with open(f"/proc/{pid}/maps", encoding="ascii") as maps:
        return next(int(line.split("-")[0], 16) for line in maps if re.search(r"\[vdso\]$", line.rstrip()))


def set_ahead(pid, seconds):
    """Sets the clock of a child that has called `request` and has just executed a program, and lets it run."""
    _, status = os.waitpid(pid, 0)
    if not os.WIFSTOPPED(status):
        raise RuntimeError(f"process {pid} did not stop at its program's beginning")
    # The vDSO is the same in every process, only elsewhere.
    own = ctypes.cast(ctypes.CDLL("linux-vdso.so.1").__vdso_clock_gettime, ctypes.c_void_p).value
    place = own - base("self") + base(pid)
    text = code(seconds)
    for offset in range(0, len(text), 8):
        [word] = struct.unpack("<Q", text[offset:offset + 8].ljust(8, b"\xcc"))
        if LIBC.ptrace(PTRACE_POKETEXT, pid, place + offset, word) != 0:
            raise OSError(ctypes.get_errno(), "ptrace")
    LIBC.ptrace(PTRACE_DETACH, pid, None, None)
