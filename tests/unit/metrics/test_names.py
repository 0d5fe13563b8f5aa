"""The labels of task names are bounded."""

from __future__ import annotations

from taskq.metrics.names import MOST_UNKNOWN, OTHER, TaskNames


def test_registered_tasks_have_their_names_whenever_they_come() -> None:
    names = TaskNames(known={"shop.tasks.add"})
    for number in range(1000):
        names.label(f"hostile.{number}")
    assert names.label("shop.tasks.add") == "shop.tasks.add"


def test_names_that_no_task_has_share_a_label_after_the_first_ones() -> None:
    names = TaskNames(known=())
    labels = {names.label(f"hostile.{number}") for number in range(1000)}
    assert labels == {OTHER, *(f"hostile.{number}" for number in range(MOST_UNKNOWN))}
    assert names.label("hostile.3") == "hostile.3"


def test_an_empty_name_is_none_of_its_own() -> None:
    assert TaskNames(known=()).label("") == OTHER
