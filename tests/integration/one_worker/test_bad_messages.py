"""What a stranger or a mistake can put into the queue: it is refused and recorded, and the worker goes on."""

from __future__ import annotations

import base64
import gzip
import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest

from taskq import AsyncResult, ids
from taskq.models import Message, ScheduledMessage
from testproject.arithmetic.tasks import add
from tests.support.processes import Process
from tests.support.waiting import wait_until

from .conftest import LARGEST

NAME = "testproject.arithmetic.tasks.add"
BODY = [[2, 2], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]

# The long lists are about what is read; a few others are about what databases keep.
on_one_database = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def insert(
    alias: str, *, headers: Any, body: Any = BODY, task_id: str | None = None, **columns: Any
) -> AsyncResult[int]:
    """Write a message past all that checks what is sent; texts are taken as they are."""
    task_id = task_id or ids.new_id()
    if isinstance(headers, dict):
        headers = {"task": NAME, "id": task_id, "lang": "py", **headers}
    values: dict[str, Any] = {
        "queue": "taskq",
        "task_id": task_id,
        "name": "",
        "headers": headers if isinstance(headers, str) else json.dumps(headers),
        "body": body if isinstance(body, str) else json.dumps(body),
        "properties": "{}",
        "created_at": datetime.now(UTC),
    }
    Message.objects.using(alias).create(**{**values, **columns})
    return AsyncResult(task_id)


def assert_refused(alias: str, result: AsyncResult[int], error: str) -> None:
    """Check that the message ends on record, and that the worker runs what comes after it."""
    assert add.delay(2, 2).get(timeout=60) == 4
    refusal = result.get(timeout=60, propagate=False)
    assert re.fullmatch(error, type(refusal).__name__), repr(refusal)
    assert result.state == "FAILURE"
    assert not Message.objects.using(alias).filter(task_id=result.id).exists()


@on_one_database
@pytest.mark.parametrize(
    "headers",
    ["{no json", "", "null", "[]", "[1, 2]", "3", '"task"', "[" * 50_000, '{"a":' * 10_000, '{"task": 1e999}'],
    ids=lambda headers: headers[:12] + ("..." if len(headers) > 12 else ""),
)
def test_message_whose_headers_are_no_mapping_is_refused(alias: str, headers: str) -> None:
    assert_refused(alias, insert(alias, headers=headers), "InvalidTaskError|NotRegistered")


@on_one_database
@pytest.mark.parametrize(
    "headers",
    [
        {"task": ["a", "list"]},
        {"task": 5},
        {"task": {"a": "mapping"}},
        {"task": "x" * 300},
        {"task": None},
        {"task": "with \x00 inside"},
        {"task": "with \ud800 inside"},
        {"id": 5},
        {"id": None},
        {"id": "x" * 300},
        {"eta": "garbage"},
        {"eta": 12},
        {"eta": ["2026"]},
        {"eta": "0001-01-01T00:00:00+14:00"},
        {"expires": "garbage"},
        {"expires": {"never": True}},
        {"retries": "x"},
        {"retries": -1},
        {"retries": 10**30},
        {"timelimit": "x"},
        {"timelimit": [1]},
        {"timelimit": ["a", "b"]},
        {"timelimit": [float("nan"), None]},
        {"timelimit": [None, float("inf")]},
        {"timelimit": [1e300, 1e300]},
        {"root_id": ["x"]},
        {"parent_id": "x" * 300},
        {"group": 7},
        {"group_index": "first"},
    ],
    ids=lambda headers: str(headers)[:40],
)
def test_message_with_invalid_header_values_is_refused(alias: str, headers: dict[str, Any]) -> None:
    assert_refused(alias, insert(alias, headers=headers), "InvalidTaskError|NotRegistered")


@on_one_database
@pytest.mark.parametrize(
    ("body", "columns", "error"),
    [
        ("{no json", {}, "DecodeError"),
        ("", {}, "DecodeError"),
        ("[" * 100_000, {}, "DecodeError|InvalidTaskError"),
        ("null", {}, "InvalidTaskError"),
        ([[2, 2], {}], {}, "InvalidTaskError"),
        ([[2, 2], [], {}], {}, "InvalidTaskError"),
        ([[2, 2], "kwargs", {}], {}, "InvalidTaskError"),
        ([{"x": 2}, {}, {}], {}, "InvalidTaskError"),
        ([[2, 2], {}, "embed"], {}, "InvalidTaskError"),
        ([[2, 2], {}, {"callbacks": [5]}], {}, "InvalidTaskError"),
        ([[2, 2], {}, {"callbacks": "abc"}], {}, "InvalidTaskError"),
        ([[2, 2], {}, {"chain": [{"args": []}]}], {}, "InvalidTaskError"),
        ([[2, 2], {"1": 1}, {}], {}, "TypeError"),
        (BODY, {"content_type": "application/x-python-serialize"}, "ContentDisallowed"),
        (BODY, {"content_type": "no/such"}, "ContentDisallowed"),
        (BODY, {"content_type": ""}, "ContentDisallowed"),
        ("!!!", {"properties": '{"body_encoding": "base64"}'}, "DecodeError"),
        (BODY, {"properties": "{no json"}, "DecodeError|InvalidTaskError"),
        (BODY, {"properties": "[]"}, "DecodeError|InvalidTaskError"),
        (BODY, {"properties": "[" * 50_000}, "DecodeError|RecursionError"),
        (json.dumps([["x" * LARGEST, 2], {}, {}]), {}, "DecodeError|InvalidTaskError"),
    ],
    ids=lambda value: (value if isinstance(value, str) else json.dumps(value))[:40],
)
def test_message_with_an_invalid_body_is_refused(alias: str, body: Any, columns: dict[str, Any], error: str) -> None:
    assert_refused(alias, insert(alias, headers={}, body=body, **columns), error)


def test_compressed_body_above_the_maximum_size_is_refused(alias: str) -> None:
    bomb = base64.b64encode(gzip.compress(b"[" + b" " * (40 * LARGEST) + b"]")).decode()
    result = insert(
        alias,
        headers={"compression": "application/x-gzip"},
        body=bomb,
        properties='{"body_encoding": "base64"}',
    )
    assert_refused(alias, result, "DecodeError|InvalidTaskError")


def test_message_without_an_id_is_logged_and_deleted(alias: str, worker: Process) -> None:
    message = Message.objects.using(alias).create(
        queue="taskq",
        headers='{"a stranger\'s": "message"}',
        body="hello",
        properties="{}",
        created_at=datetime.now(UTC),
    )
    assert add.delay(2, 2).get(timeout=60) == 4
    wait_until(lambda: not Message.objects.using(alias).filter(id=message.id).exists(), what="the message to go")
    worker.wait_for_log("A message in taskq was rejected: .*stranger's")


def test_message_with_the_last_possible_eta_is_scheduled(alias: str) -> None:
    result = insert(alias, headers={"eta": "9999-12-31T23:59:59.999999+00:00"})
    assert add.delay(2, 2).get(timeout=60) == 4
    scheduled = ScheduledMessage.objects.using(alias).filter(task_id=result.id)
    wait_until(scheduled.exists, what="the message to be scheduled")
    assert result.state == "PENDING"
    result.revoke()
    assert result.state == "REVOKED"


def test_protocol_1_message_runs(alias: str) -> None:
    task_id = ids.new_id()
    body = {"task": NAME, "id": task_id, "args": [2], "kwargs": {"y": 3}, "retries": 0, "eta": None, "utc": True}
    result = insert(alias, headers="{}", body=body, task_id=task_id)
    assert add.delay(2, 2).get(timeout=60) == 4
    assert result.get(timeout=60) == 5
