"""The events of tasks, field by field, as Celery's workers send them."""

from __future__ import annotations

import pytest

from taskq import states
from taskq.events import layout
from taskq.exceptions import TaskRevokedError
from taskq.messages.exception_data import encode_exception
from taskq.records import Settlement
from taskq.worker.loop.request import Limits, read
from tests.support.fake_pool import claimed


def settlement(state: str, **more: object) -> Settlement:
    return Settlement(message_id=1, task_id="t1", state=state, **more)  # type: ignore[arg-type]


def test_received() -> None:
    headers = {"argsrepr": "(2, 2)", "kwargsrepr": "{}", "root_id": "t0"}
    message = claimed("shop.tasks.add", headers=headers)
    (event,) = layout.received([read(message, Limits())])
    assert event["type"] == "task-received"
    assert (event["name"], event["args"], event["kwargs"]) == ("shop.tasks.add", "(2, 2)", "{}")
    assert (event["uuid"], event["root_id"]) == (message.task_id, "t0")
    assert {"parent_id", "retries", "eta", "expires"} <= event.keys()


@pytest.mark.parametrize(
    ("result", "shown"),
    [
        ("4", "4"),
        ('"a"', "'a'"),
        ("null", "None"),
        ('{"a": [1, true]}', "{'a': [1, True]}"),
        (None, "None"),
        ("{", "{"),
    ],
)
def test_succeeded_has_the_repr_of_the_value(result: str | None, shown: str) -> None:
    event = layout.ended(settlement(states.SUCCESS, result=result, runtime=0.5))
    assert event == {"type": "task-succeeded", "uuid": "t1", "result": shown, "runtime": 0.5}


def test_a_long_value_is_cut() -> None:
    event = layout.ended(settlement(states.SUCCESS, result='"' + "x" * 100_000 + '"'))
    assert event is not None
    assert len(event["result"]) == 1024


@pytest.mark.parametrize(("state", "kind"), [(states.FAILURE, "task-failed"), (states.RETRY, "task-retried")])
def test_failed_and_retried_have_exception_and_traceback(state: str, kind: str) -> None:
    error = encode_exception(ZeroDivisionError("division by zero"))
    event = layout.ended(settlement(state, result=error, traceback="Traceback"))
    shown = "ZeroDivisionError('division by zero')"
    assert event == {"type": kind, "uuid": "t1", "exception": shown, "traceback": "Traceback"}


@pytest.mark.parametrize(("reason", "terminated", "expired"), [
    ("terminated", True, False), ("expired", False, True), ("revoked", False, False),
])  # fmt: skip
def test_revoked_says_how(reason: str, terminated: bool, expired: bool) -> None:
    event = layout.ended(settlement(states.REVOKED, result=encode_exception(TaskRevokedError(reason))), "TERM")
    assert event == {
        "type": "task-revoked", "uuid": "t1", "terminated": terminated, "expired": expired, "signum": "TERM",
    }  # fmt: skip


def test_what_did_not_end_has_no_event() -> None:
    assert layout.ended(settlement(states.IGNORED)) is None
    assert layout.ended(Settlement(message_id=1, task_id="", state=states.FAILURE)) is None


def test_sent() -> None:
    headers = {"id": "t1", "task": "shop.add", "root_id": "t0", "argsrepr": "(2, 2)", "kwargsrepr": "{}"}
    event = layout.sent(headers, "", "hipri")
    assert (event["uuid"], event["name"], event["args"], event["retries"]) == ("t1", "shop.add", "(2, 2)", 0)
    assert (event["queue"], event["exchange"], event["routing_key"]) == ("hipri", "", "hipri")
