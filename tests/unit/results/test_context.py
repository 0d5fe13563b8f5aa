from __future__ import annotations

import pytest

from taskq.results import context


def test_outside_a_task_waiting_is_allowed() -> None:
    context.refuse_in_task()


def test_inside_a_task_it_is_not() -> None:
    with context.inside_task(), pytest.raises(RuntimeError, match=r"Never call result\.get\(\) within a task!"):
        context.refuse_in_task()
    context.refuse_in_task()


def test_unless_the_code_says_that_it_knows() -> None:
    with context.inside_task():
        with context.allow_join_result():
            context.refuse_in_task()
        with pytest.raises(RuntimeError):
            context.refuse_in_task()
