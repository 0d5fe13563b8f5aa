"""Which failed tasks of a workflow can run again: those whose own messages were kept, or that nothing waits for."""

from __future__ import annotations

from typing import Any

import pytest

from taskq import chord, states
from taskq.exceptions import CannotRetry
from taskq.models import KeptMessage, Node, TaskRun
from taskq.store import retry_workflow
from tests.support.jobs.flows import fragile, same

from .conftest import retry_one
from .test_retried import a, broken, plus, two, work

__all__ = ["broken"]
pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def failed_in_workflow(alias: str) -> list[str]:
    return retry_workflow.failed_in(Node.objects.using(alias).get(task_id="a").root_id, alias)


@pytest.mark.parametrize(
    ("sig", "found"),
    [(a() | plus, []), (chord([two, a()], same.s()), []), (two | a(fragile.s("a")), ["a"])],
    ids=["awaited", "member", "last"],
)
def test_without_its_message_only_a_task_that_nothing_waits_for_is_found(alias: str, sig: Any, found: Any) -> None:
    sig.apply_async()
    work(alias)
    assert failed_in_workflow(alias) == ["a"]
    KeptMessage.objects.using(alias).all().delete()
    assert failed_in_workflow(alias) == found


def test_the_message_of_an_earlier_task_of_the_same_id_is_not_sent_again(alias: str) -> None:
    (a() | plus).apply_async()
    work(alias)
    a().apply_async()
    work(alias)
    assert TaskRun.objects.using(alias).get(task_id="a").state == states.FAILURE
    assert KeptMessage.objects.using(alias).get().task_id == "a"
    assert retry_workflow.kept_among(["a"], alias) == set()
    with pytest.raises(CannotRetry, match="was not kept"):
        retry_one("a", alias=alias)
