from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from taskq.worker.process import system


@pytest.mark.parametrize(
    ("code", "words"), [(0, "exitcode 0"), (3, "exitcode 3"), (-9, "signal 9 (SIGKILL)"), (-64, "signal 64 (SIGRTMAX)")]
)
def test_describe_exit(code: int, words: str):
    assert system.describe_exit(code) == words


def test_an_unknown_signal_has_a_number_all_the_same():
    assert system.describe_exit(-99) == "signal 99 (unknown)"


@pytest.mark.parametrize("name", ["SIGTERM", "TERM", "term", "15"])
def test_signals_have_names_and_numbers(name: str):
    assert system.signal_number(name) == signal.SIGTERM


@pytest.mark.parametrize("name", ["", "SIGNOTHING", "99"])
def test_a_signal_that_does_not_exist_is_an_error(name: str):
    with pytest.raises(ValueError, match="There is no signal"):
        system.signal_number(name)


def test_resident_kib():
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
def test_a_signal_without_an_order_is_not_heeded():
    read_fd, write_fd = os.pipe()

    system.terminate_only_on_order(read_fd)
    os.kill(os.getpid(), signal.SIGTERM)
    os.close(read_fd)
    os.kill(os.getpid(), signal.SIGHUP)

    os.close(write_fd)
