from __future__ import annotations

import os
import signal

import pytest

from taskq.worker.pools import processes


@pytest.mark.parametrize(
    ("code", "words"), [(0, "exitcode 0"), (3, "exitcode 3"), (-9, "signal 9 (SIGKILL)"), (-64, "signal 64 (SIGRTMAX)")]
)
def test_describe_exit(code: int, words: str):
    assert processes.describe_exit(code) == words


def test_an_unknown_signal_has_a_number_all_the_same():
    assert processes.describe_exit(-99) == "signal 99 (unknown)"


def test_resident_kib():
    assert processes.resident_kib() > 1000
    assert processes.resident_kib(os.getpid()) > 1000
    assert processes.resident_kib(2**22 + 1) == 0


def test_heeded_is_the_signal_itself_where_it_is_handled():
    old = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        assert processes.heeded(os.getpid(), signal.SIGTERM) == signal.SIGTERM
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        assert processes.heeded(os.getpid(), signal.SIGTERM) == signal.SIGKILL
    finally:
        signal.signal(signal.SIGTERM, old)
    assert processes.heeded(os.getpid(), signal.SIGUSR2) == signal.SIGUSR2
    assert processes.heeded(2**22 + 1, signal.SIGTERM) == signal.SIGKILL
