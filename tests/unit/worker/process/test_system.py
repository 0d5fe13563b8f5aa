from __future__ import annotations

import os
import signal
from collections.abc import Iterator

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
def test_group_signal_without_an_order_is_ignored():
    read_fd, write_fd = os.pipe()

    system.terminate_only_on_order(read_fd)
    os.kill(os.getpid(), signal.SIGTERM)
    os.close(read_fd)
    os.kill(os.getpid(), signal.SIGHUP)

    os.close(write_fd)
