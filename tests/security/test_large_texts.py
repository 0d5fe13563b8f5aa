"""With ``TASKQ_SIGNING`` on, large texts that stand apart on SQLite decide nothing that was not sent."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db.models import BinaryField, Value

from taskq import control
from taskq.exceptions import CannotRetry, SignatureMismatch
from taskq.models import LargeText, Message, TaskRun
from tests.support.jobs.endings import repeat

from .conftest import act, fail

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
ONE, OTHER = "x" * 70_000, "y" * 70_000


def alter(alias: str, column: str) -> None:
    """Alter all large texts: ``key`` gives each the key of another, ``content`` writes into them."""
    rows = {row.pk: row for row in LargeText.objects.using(alias)}
    LargeText.objects.using(alias).all().delete()
    contents = [bytes(row.content) for row in rows.values()]
    if column == "key":
        contents.reverse()
    else:
        contents = [content.replace(b"xx", b"zz").replace(b"yy", b"zz") for content in contents]
    LargeText.objects.using(alias).bulk_create(map(LargeText, rows, contents))


def test_large_arguments_run_and_can_be_retried(signed: str, work: Callable[..., list[str]]) -> None:
    result = fail.delay(ONE)
    assert work() == [ONE]
    control.retry(result.id)
    assert LargeText.objects.using(signed).exists()
    assert work() == [ONE]


@pytest.mark.parametrize("column", ["key", "content"])
def test_an_altered_text_runs_nothing(signed: str, work: Callable[..., list[str]], column: str) -> None:
    act.delay(ONE)
    act.delay(OTHER)
    alter(signed, column)
    assert work() == []
    assert not Message.objects.using(signed).exists()


@pytest.mark.parametrize("column", ["key", "content"])
def test_an_altered_text_is_not_retried(signed: str, work: Callable[..., list[str]], column: str) -> None:
    ids = [fail.delay(text).id for text in (ONE, OTHER)]
    assert sorted(work()) == [ONE, OTHER]
    alter(signed, column)
    for task_id in ids:
        with pytest.raises(CannotRetry):
            control.retry(task_id)
    assert work() == []


def test_the_text_of_another_task_does_not_run(signed: str, work: Callable[..., list[str]]) -> None:
    act.delay(ONE)
    key = LargeText.objects.using(signed).get().key
    other = act.delay("small")
    body = Message.objects.using(signed).values_list("body", flat=True).get(task_id=other.id)
    Message.objects.using(signed).filter(task_id=other.id).update(
        body=Value(f"{key}{body[-72:]}".encode(), BinaryField())
    )
    assert Message.objects.using(signed).get(task_id=other.id).body.count("x") > 60_000
    assert work() == [ONE]
    assert not TaskRun.objects.using(signed).filter(task_id=other.id, state="SUCCESS").exists()


@pytest.mark.parametrize("column", ["key", "content"])
def test_an_altered_result_is_not_read(signed: str, work: Callable[..., list[str]], column: str) -> None:
    results = [repeat.delay(letter, 300_000) for letter in "xy"]
    work()
    alter(signed, column)
    for result in results:
        with pytest.raises(SignatureMismatch, match="altered"):
            result.get(timeout=60)
