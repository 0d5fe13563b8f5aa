from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from taskq.worker.process import system


@pytest.mark.parametrize(
    ("code", "words"), [(0, "exitcode 0"), (3, "exitcode 3"), (-9, "signal 9 (SIGKILL)"), (-64, "signal 64 (SIGRTMAX)")]
)
def test_describe_exit_names_exit_codes_and_signals(code: int, words: str):
    assert system.describe_exit(code) == words


def test_describe_exit_gives_the_number_of_an_unknown_signal():
    assert system.describe_exit(-99) == "signal 99 (unknown)"


@pytest.mark.parametrize("name", ["SIGTERM", "TERM", "term", "15"])
def test_signal_number_takes_names_and_numbers(name: str):
    assert system.signal_number(name) == signal.SIGTERM


@pytest.mark.parametrize("name", ["", "SIGNOTHING", "99"])
def test_signal_number_refuses_a_signal_that_does_not_exist(name: str):
    with pytest.raises(ValueError, match="There is no signal"):
        system.signal_number(name)


def test_resident_kib_of_own_process_and_of_one_that_is_gone():
    assert system.resident_kib() > 1000
    assert system.resident_kib(os.getpid()) > 1000
    assert system.resident_kib(2**22 + 1) == 0


@pytest.fixture
def _handlers() -> Iterator[None]:
    old = {number: signal.getsignal(number) for number in system.GROUP_SIGNALS}
    yield
    for number, handler in old.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("_handlers")
def test_group_signal_without_an_order_is_ignored(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(system, "_orders_fd", -1)
    read_fd, write_fd = os.pipe()

    system.ignore_group_signals()
    os.kill(os.getpid(), signal.SIGTERM)
    system.heed_orders(read_fd)
    os.kill(os.getpid(), signal.SIGTERM)
    os.close(read_fd)
    os.kill(os.getpid(), signal.SIGHUP)

    # This process lives, and did not ask to ignore them as a child of its own would.
    assert all(callable(signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGHUP))
    os.close(write_fd)


_MAPS = "\n".join(
    [
        "55d0c0a00000-55d0c0c00000 rw-p 00000000 00:00 0                          [heap]",
        "7f2c10000000-7f2c10600000 rw-p 00000000 00:00 0 ",
        "7f2c20000000-7f2c20600000 r--p 00000000 00:00 0 ",
        "7f2c30000000-7f2c30600000 rw-s 00000000 00:01 1024                       /memfd:shared (deleted)",
        "7f2c40000000-7f2c40600000 rw-p 00000000 fe:00 33894                      /usr/lib/a name with spaces.so",
        "7ffc77e97000-7ffc77eb8000 rw-p 00000000 00:00 0                          [stack]",
    ]
)

_HUGE_PAGES = """
import ctypes, re
from types import SimpleNamespace
from taskq.worker.process import system

libc, refused = ctypes.CDLL(None, use_errno=True), set()

def madvise(*arguments):
    if libc.madvise(*arguments):
        refused.add(ctypes.get_errno())

system._libc = SimpleNamespace(madvise=madvise)
memory = bytearray(b"x") * (16 << 20)
system.use_huge_pages()
assert memory.count(b"x") == 16 << 20
print(re.search(r"AnonHugePages: +([0-9]+)", open("/proc/self/smaps_rollup").read())[1], *refused)
"""


def test_private_memory_is_the_heap_and_what_has_no_name() -> None:
    assert list(system._private_memory(_MAPS)) == [(0x55D0C0A00000, 0x55D0C0C00000), (0x7F2C10000000, 0x7F2C10600000)]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has this call")
def test_huge_pages_are_asked_for_all_private_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int, int]] = []
    libc = SimpleNamespace(madvise=lambda *given: asked.append((given[0].value, given[1].value, given[2])))
    monkeypatch.setattr(system, "_libc", libc)
    monkeypatch.setattr(system, "_private_memory", lambda text: [(0x1FF000, 0x801000), (0xA00000, 0xA01000)])
    system.use_huge_pages()
    assert asked == [(begin, 0x200000, 25) for begin in (0x200000, 0x400000, 0x600000)]


def test_huge_pages_take_the_memory_of_a_process() -> None:
    if not Path("/sys/kernel/mm/transparent_hugepage").exists():
        pytest.skip("the kernel has no transparent huge pages")
    release = Path("/proc/sys/kernel/osrelease").read_text().split(".")
    if (int(release[0]), int(release[1])) < (6, 1):
        pytest.skip("the kernel does not collapse pages when asked to")
    taken, *refused = map(int, subprocess.check_output([sys.executable, "-c", _HUGE_PAGES], text=True).split())
    if taken < 8 << 10 and {errno.ENOMEM, errno.EAGAIN, errno.EBUSY} & set(refused):
        pytest.skip("the machine has no huge page left")
    assert taken >= 8 << 10, f"at least half of the memory, in KiB; errors: {refused}"
