from __future__ import annotations

import signal
import threading
import time
from typing import Any

import pytest

from taskq.exceptions import SoftTimeLimitExceeded, TaskTerminated
from taskq.execution.interrupts import CutShort
from taskq.worker.pools.soft_limits import signal_limit, thread_limit

LIMITS = pytest.mark.parametrize("limit", [signal_limit, thread_limit])


def run_on(seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


@LIMITS
def test_soft_limit_is_raised_in_code_that_runs_too_long(limit: Any):
    with pytest.raises(SoftTimeLimitExceeded) as raised, limit(0.02):
        run_on()

    assert raised.value.args == (0.02,)


@LIMITS
def test_soft_limit_of_code_in_time_restores_handler_and_timer(limit: Any):
    before = signal.getsignal(signal.SIGALRM)
    # pytest-timeout has one of its own.
    outer = signal.getitimer(signal.ITIMER_REAL)[0]

    with limit(30):
        pass

    assert signal.getsignal(signal.SIGALRM) == before
    assert signal.getitimer(signal.ITIMER_REAL)[0] == pytest.approx(outer, abs=20)


@LIMITS
def test_soft_limit_can_be_caught(limit: Any):
    caught = False
    # On a busy machine this may stand still for a moment before it is in the inner block.
    with limit(0.3):
        try:
            run_on()
        except SoftTimeLimitExceeded:
            caught = True

    assert caught


@LIMITS
def test_soft_limit_never_arrives_after_its_block(limit: Any):
    for _ in range(30):
        try:
            with limit(0.001):
                run_on(0.001)
        except SoftTimeLimitExceeded:
            pass
        late = False
        try:
            run_on(0.0005)
        except SoftTimeLimitExceeded:
            late = True
        assert not late


def test_outer_signal_limit_stays_in_force_after_an_inner_one():
    def nest() -> None:
        with signal_limit(0.05):
            with signal_limit(30):
                pass
            run_on()

    with pytest.raises(SoftTimeLimitExceeded) as raised:
        nest()

    assert raised.value.args == (0.05,)


def test_thread_limit_interrupts_its_own_thread_only():
    ended: dict[str, bool] = {}

    def limited() -> None:
        try:
            with thread_limit(0.02):
                run_on()
        except SoftTimeLimitExceeded:
            ended["limited"] = True

    def free() -> None:
        with thread_limit(30):
            run_on(0.05)
        ended["free"] = True

    threads = [threading.Thread(target=target) for target in (limited, free)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert ended == {"limited": True, "free": True}


@pytest.mark.parametrize("returns", [True, False])
def test_a_function_that_swallows_its_hard_end_does_not_succeed(returns: bool):
    limit = thread_limit(None)
    with pytest.raises(CutShort), limit:
        try:
            limit.interrupt(CutShort)
            run_on()
        except CutShort:
            if not returns:
                raise LookupError from None


def test_other_interruptions_may_be_swallowed():
    limit = thread_limit(None)
    swallowed = False
    with limit:
        try:
            limit.interrupt(TaskTerminated)
            run_on()
        except TaskTerminated:
            swallowed = True

    assert swallowed
