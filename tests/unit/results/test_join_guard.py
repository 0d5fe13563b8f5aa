from __future__ import annotations

import pytest

from taskq.results import join_guard


def test_outside_a_task_waiting_is_allowed() -> None:
    join_guard.refuse_in_task()


def test_inside_a_task_it_is_not() -> None:
    with join_guard.inside_task(), pytest.raises(RuntimeError, match=r"Never call result\.get\(\) within a task!"):
        join_guard.refuse_in_task()
    join_guard.refuse_in_task()


def test_unless_the_code_says_that_it_knows() -> None:
    with join_guard.inside_task():
        with join_guard.allow_join_result():
            join_guard.refuse_in_task()
        with pytest.raises(RuntimeError):
            join_guard.refuse_in_task()
