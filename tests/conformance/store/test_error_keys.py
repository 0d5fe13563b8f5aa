"""Errors are bounded: a task whose messages all differ makes no row for each of them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext

from taskq import states
from taskq.engines import for_alias
from taskq.messages.exception_data import encode_exception
from taskq.messages.fingerprints import overflow_fingerprint
from taskq.models import Error, ErrorCount, Failure, TaskRun
from taskq.records import Settlement
from taskq.store import error_keys, failures

NAME = "shop.tasks.mail"
WORDS = [f"{a}{b}" for a in "abcdefghij" for b in "klmnopqrst"]


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(error_keys, "MOST", 5)
    # An hour that begins within a test would have room again.
    monkeypatch.setattr(error_keys, "_HOUR", 10**11)


def fail(alias: str, errors: Sequence[Exception], name: str = NAME) -> None:
    first = TaskRun.objects.using(alias).count()
    ends = [
        Settlement(0, f"run-{first + place}", states.FAILURE, result=encode_exception(error))
        for place, error in enumerate(errors)
    ]
    now = for_alias(alias).now_expression()
    TaskRun.objects.using(alias).bulk_create(
        TaskRun(task_id=s.task_id, name=name, state=states.FAILURE, result=s.result, created_at=now) for s in ends
    )
    failures.note(for_alias(alias), ends)


def keys(alias: str) -> set[str]:
    return set(Error.objects.using(alias).values_list("key", flat=True))


@pytest.mark.parametrize("at_once", [1, 100])
def test_messages_that_all_differ_make_few_errors(alias: str, at_once: int) -> None:
    errors = [ValueError(f"no {word}") for word in WORDS]
    for start in range(0, len(errors), at_once):
        fail(alias, errors[start : start + at_once])
    assert len(keys(alias)) == 6
    assert overflow_fingerprint(NAME) in keys(alias)
    row = Error.objects.using(alias).get(key=overflow_fingerprint(NAME))
    assert (row.name, row.exception, row.message) == (NAME, "", "no jt")
    assert sum(ErrorCount.objects.using(alias).filter(error=row.key).values_list("failures", flat=True)) == 95
    kept = Failure.objects.using(alias).filter(error=row.key)
    assert set(kept.values_list("exception", flat=True)) == {"ValueError"}
    assert kept.count() == 95


def test_another_class_another_task_and_known_errors_keep_their_keys(alias: str) -> None:
    fail(alias, [ValueError("known")])
    error_keys.forget()
    fail(alias, [ValueError(f"no {word}") for word in WORDS])
    before = keys(alias)
    fail(alias, [KeyError("new"), ValueError("known")])
    fail(alias, [ValueError("no aa")], name="shop.tasks.pay")
    assert len(keys(alias) - before) == 2
    known = Error.objects.using(alias).get(message="known")
    assert Failure.objects.using(alias).filter(error=known.key).count() == 2
    classes = [type(f"Error{word}", (Exception,), {"__module__": "shop"}) for word in WORDS]
    fail(alias, [kind("x") for kind in classes])
    assert len(keys(alias)) <= 2 * error_keys.MOST + 4


def test_another_hour_has_room_again(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fail(alias, [ValueError(f"no {word}") for word in WORDS[:20]])
    error_keys._hour.number -= 1
    fail(alias, [ValueError(f"no {word}") for word in WORDS[20:40]])
    assert len(keys(alias)) == 11


def test_what_is_met_costs_no_statement_and_is_bounded(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fail(alias, [ValueError(word) for word in WORDS[:5]])
    failure = Failure(run_id=1, error=sorted(keys(alias))[0], exception="ValueError", message="x")
    with CaptureQueriesContext(connections[alias]) as queries:
        error_keys.bound(for_alias(alias), [(failure, NAME)], for_alias(alias).now())
    assert [query for query in queries if "taskq_error" in query["sql"]] == []
    monkeypatch.setattr(error_keys, "MOST_TASKS", 3)
    for word in WORDS:
        error_keys.bound(for_alias(alias), [(failure, word)], for_alias(alias).now())
        assert len(error_keys._hour.met) <= 3
