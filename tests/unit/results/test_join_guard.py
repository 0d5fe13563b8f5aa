from __future__ import annotations

import pytest

from taskq.results import join_guard
from tests.support.in_task import inside_task


def test_waiting_inside_a_task_is_refused_and_outside_allowed() -> None:
    join_guard.refuse_in_task()
    with inside_task(), pytest.raises(RuntimeError, match=r"Never call result\.get\(\) within a task!"):
        join_guard.refuse_in_task()
    join_guard.refuse_in_task()


def test_allow_join_result_allows_waiting_inside_a_task() -> None:
    with inside_task():
        with join_guard.allow_join_result():
            join_guard.refuse_in_task()
        with pytest.raises(RuntimeError):
            join_guard.refuse_in_task()
