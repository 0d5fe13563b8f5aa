"""Tasks for one test, and the exceptions of their outcomes."""

from __future__ import annotations

from typing import Any

from taskq import states, task
from taskq.handover import Outcome
from taskq.messages.values import decode_exception


@task
def add(x: int, y: int) -> int:
    return x + y


def error_of(outcome: Outcome) -> BaseException:
    assert outcome.state in states.EXCEPTION_STATES, outcome
    return decode_exception(outcome.result)


def define(function: Any, name: str = "defined", **options: Any) -> Any:
    return task(name=name, **options)(function)


def raiser(error: BaseException) -> Any:
    def run() -> None:
        raise error

    return run
