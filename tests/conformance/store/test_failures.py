"""What failed runs raised is written with their ends, whoever writes them, and goes with the runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connections
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from taskq import states
from taskq.engines import for_alias
from taskq.messages.exception_data import encode_exception
from taskq.models import Error, ErrorCount, Failure, Message, TaskRun
from taskq.records import Claimed
from taskq.store import failures, retention, workers
from taskq.store.claim import claim
from taskq.store.enqueue import enqueue
from taskq.store.recover import requeue_held
from taskq.store.settle import settle
from tests.support.envelopes import ending, envelope

from .workflow_rows import chord, counting


def held(*envelopes: Any) -> tuple[str, list[Claimed]]:
    enqueue(envelopes)
    token = workers.register("w")
    return token, claim("taskq", 1000, token)


def failing(message: Claimed, error: Exception, **changes: Any) -> Any:
    return ending(message, states.FAILURE, result=encode_exception(error), **changes)


def fail(count: int = 1, text: str = "no order {}") -> None:
    token, messages = held(*(envelope() for _ in range(count)))
    settle(token, [failing(message, KeyError(text.format(n))) for n, message in enumerate(messages)])


def test_failures_that_are_alike_are_one_error(alias: str) -> None:
    fail(3)
    fail(2)
    fail(1, "another text")
    error = Error.objects.using(alias).get(message__startswith="no order")
    assert (error.name, error.exception) == ("shop.add", "KeyError")
    assert error.message in ("no order 0", "no order 1")
    assert error.first_seen < error.last_seen
    rows = Failure.objects.using(alias).filter(error=error.key)
    assert rows.count() == 5
    assert error.last_run == max(rows.values_list("run_id", flat=True))
    assert {row.message for row in rows} == {"no order 0", "no order 1", "no order 2"}
    counts = ErrorCount.objects.using(alias).filter(error=error.key)
    assert sum(counts.values_list("failures", flat=True)) == 5
    assert Error.objects.using(alias).count() == 2


def test_success_retry_and_revocation_write_nothing_and_ask_nothing(alias: str) -> None:
    ends = [states.SUCCESS, states.RETRY, states.REVOKED]
    token, messages = held(*(envelope() for _ in ends))
    settlements = [ending(message, state) for message, state in zip(messages, ends, strict=True)]
    with CaptureQueriesContext(connections[alias]) as queries:
        settle(token, settlements)
    assert not [query["sql"] for query in queries if "failure" in query["sql"] or "taskq_error" in query["sql"]]
    assert not Failure.objects.using(alias).exists()


def test_run_that_is_not_kept_has_no_failure(alias: str) -> None:
    token, (message,) = held(envelope())
    settle(token, [failing(message, KeyError("x"), keep=False)])
    assert not Failure.objects.using(alias).exists()
    assert not Error.objects.using(alias).exists()


def test_lost_task_has_a_failure(alias: str) -> None:
    token, (message,) = held(envelope())
    Message.objects.using(alias).filter(id=message.id).update(acked=True)
    requeue_held(token, alias)
    assert Failure.objects.using(alias).get().exception == "taskq.exceptions.WorkerLostError"
    assert Error.objects.using(alias).get().name == "shop.add"


def test_dependents_have_failures_too(alias: str) -> None:
    token, messages = chord(alias, "a", "b")
    settle(token, [counting(m, states.FAILURE, result=encode_exception(KeyError("x"))) for m in messages[:1]])
    failed = TaskRun.objects.using(alias).filter(state=states.FAILURE)
    assert failed.count() == 2
    assert set(Failure.objects.using(alias).values_list("run_id", flat=True)) == {run.pk for run in failed}


def test_failing_again_replaces_the_failure(alias: str) -> None:
    for text in ("first", "second"):
        token, (message,) = held(envelope("x"))
        settle(token, [failing(message, KeyError(text))])
    assert Failure.objects.using(alias).get().message == "second"
    assert Error.objects.using(alias).count() == 2


def test_errors_of_many_failures_are_written_once_in_the_order_of_their_keys(
    alias: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(for_alias(alias)), "chunk", 4)
    written: list[list[str]] = []
    monkeypatch.setattr(
        failures, "add_up", lambda engine, table, keys, sums, rows: written.append([r[0] for r in rows])
    )
    token, messages = held(*(envelope(name=f"shop.t{n}") for n in range(9)))
    settle(token, [failing(message, KeyError("x")) for message in messages])
    keys = [key for part in written for key in part]
    assert keys == sorted(keys)
    assert len(keys) == 9
    assert Failure.objects.using(alias).count() == 9


def test_errors_over_age_go_in_small_transactions_and_after_their_failures(alias: str) -> None:
    fail(5)
    fail(1, "another text")
    old = datetime.fromtimestamp(for_alias(alias).now(), UTC) - timedelta(days=9)
    Error.objects.using(alias).filter(message__startswith="no order").update(last_seen=old)
    with CaptureQueriesContext(connections[alias]) as queries:
        assert list(failures.expire(old + timedelta(days=1), 2, alias)) == [2, 2, 1, 1]
    deleted = [query["sql"].split()[2].strip('"`') for query in queries if query["sql"].startswith("DELETE")]
    assert deleted == ["taskq_failure"] * 3 + ["taskq_error"]
    assert (Error.objects.using(alias).count(), Failure.objects.using(alias).count()) == (1, 1)


@pytest.mark.parametrize("text", ["\0 nul", "\ud800 half", "<b>", "é" * 5000, "😀" * 600])
def test_any_message_is_written(alias: str, text: str) -> None:
    token, (message,) = held(envelope())
    settle(token, [failing(message, KeyError(text))])
    run = TaskRun.objects.using(alias).get()
    assert (run.state, Failure.objects.using(alias).get().exception) == (states.FAILURE, "KeyError")


def test_failures_go_with_their_runs_and_errors_with_their_age(alias: str) -> None:
    fail(3)
    kept = TaskRun.objects.using(alias).first()
    assert kept is not None
    gone = TaskRun.objects.using(alias).exclude(pk=kept.pk)
    retention.forget(list(gone.values_list("task_id", flat=True)))
    assert Failure.objects.using(alias).get().run_id == kept.pk
    failures.forget([kept.pk], alias)
    assert not Failure.objects.using(alias).exists()
    fail(1)
    old = datetime.fromtimestamp(for_alias(alias).now(), UTC) - timedelta(days=9)
    Error.objects.using(alias).update(last_seen=old)
    ErrorCount.objects.using(alias).update(period=int(old.timestamp()))
    with override_settings(TASKQ_RESULT_FAILURE_EXPIRES=None):
        sum(retention.sweep({}, alias))
    assert (Error.objects.using(alias).count(), ErrorCount.objects.using(alias).count()) == (1, 0)
    with override_settings(TASKQ_RESULT_FAILURE_EXPIRES=timedelta(days=8)):
        sum(retention.sweep({}, alias))
    assert not Error.objects.using(alias).exists()
    assert not Failure.objects.using(alias).exists()


def test_what_is_deleted_for_good_leaves_no_message(alias: str) -> None:
    fail(2)
    error = Error.objects.using(alias).get()
    older, last = TaskRun.objects.using(alias).order_by("id")
    assert error.last_run == last.pk
    retention.delete([older.task_id], alias)
    assert Error.objects.using(alias).get().message == error.message != ""
    retention.delete([last.task_id], alias)
    assert Error.objects.using(alias).get().message == ""
    fail(1)
    assert Error.objects.using(alias).get().message != ""
