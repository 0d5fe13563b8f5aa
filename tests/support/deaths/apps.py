"""Patches the worker when the process starts, if its environment asks for it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

from django.apps import AppConfig


class DeathsConfig(AppConfig):
    """Arms the points of ``TEST_DEATH`` and ``TEST_POISON``."""

    name = "tests.support.deaths"
    label = "test_deaths"

    def ready(self) -> None:
        """Patch one function of the worker."""
        if "TEST_DEATH" in os.environ:
            point, number = os.environ["TEST_DEATH"].split(":")
            _arm(point, int(number))
        if "TEST_POISON" in os.environ:
            _poison(os.environ["TEST_POISON"])


def _die_of(request: Any) -> None:
    if request.task_name == "tests.poison":
        os.kill(os.getpid(), signal.SIGKILL)


def _poison(point: str) -> None:
    from taskq import signals
    from taskq.worker.loop import intake

    if point == "received":
        signals.task_received.connect(lambda request, **_: _die_of(request), weak=False)
    elif point == "read":
        _wrap(intake, "read", lambda call: (request := call(), _die_of(request))[0])
    else:
        raise ValueError(f"TEST_POISON names no point: {point}")


def _arm(point: str, number: int) -> None:
    from taskq.execution import large_results
    from taskq.store import parts, settle
    from taskq.worker.duties import ledger
    from taskq.worker.loop.consumer import Consumer

    left = number

    def die_if_it_is_time() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def before(owner: Any, name: str) -> None:
        _wrap(owner, name, lambda call: (die_if_it_is_time(), call())[1])

    def after(owner: Any, name: str) -> None:
        _wrap(owner, name, lambda call: (call(), die_if_it_is_time())[0])

    if point == "received":
        before(Consumer, "outcome")
    elif point == "uncommitted":
        after(settle, "write_ends")
    elif point == "committed":
        after(ledger, "settle")
    elif point == "handing":
        before(Consumer, "_hand_over")
    elif point == "stored":
        after(large_results, "write_ahead")
    elif point == "part":
        after(parts, "work_off")
    else:
        raise ValueError(f"TEST_DEATH names no point: {point}")


def _wrap(owner: Any, name: str, around: Callable[[Callable[[], Any]], Any]) -> None:
    wrapped = getattr(owner, name)

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return around(lambda: wrapped(*args, **kwargs))

    setattr(owner, name, wrapper)
