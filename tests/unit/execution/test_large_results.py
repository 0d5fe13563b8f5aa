"""Which results the process of a task writes before its outcome."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from taskq import states
from taskq.execution.large_results import is_large
from taskq.execution.run import Run
from taskq.handover import Outcome
from taskq.messages.protocol import MOST_IN_MAIN


def run(*, in_memory: bool = False, ending: Any = None) -> Run:
    return cast(Run, SimpleNamespace(in_memory=in_memory, request=SimpleNamespace(ending=ending)))


def outcome(state: str = states.SUCCESS, size: int = MOST_IN_MAIN + 1) -> Outcome:
    return Outcome(1, "t", state, result="x" * size)


def test_large_value_is_written_before() -> None:
    assert is_large(run(), outcome())
    assert not is_large(run(), outcome(size=MOST_IN_MAIN))
    assert not is_large(run(), Outcome(1, "t", states.SUCCESS))


@pytest.mark.parametrize("state", [states.FAILURE, states.RETRY, states.REVOKED, states.IGNORED])
def test_exception_goes_with_the_settlement(state: str) -> None:
    assert not is_large(run(), outcome(state))


def test_exception_in_a_success_that_ends_a_body_or_calls_errbacks_is_no_value() -> None:
    assert not is_large(run(ending=object()), outcome())


def test_run_in_memory_has_no_rows() -> None:
    assert not is_large(run(in_memory=True), outcome())
