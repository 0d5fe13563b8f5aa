"""The events of tasks, field by field, as Celery's workers send them."""

from __future__ import annotations

import json
from signal import Signals
from typing import Any

import pytest

from taskq import states
from taskq.calls.registry import tasks
from taskq.control import taskinfo
from taskq.events import layout
from taskq.events.stamps import Stamp
from taskq.exceptions import NotRegistered, TaskRevokedError
from taskq.handover import Report
from taskq.messages.exception_data import encode_exception
from taskq.messages.reprs import MASK
from taskq.records import Settlement
from taskq.worker.loop.request import Limits, read
from taskq.worker.remote.lamport import lamport
from tests.support.fake_pool import claimed

AT = "7.0"


def read_event(text: str | None) -> dict[str, Any]:
    """Return an event without its time, of which the layout has the start of the text."""
    assert text is not None
    event: dict[str, Any] = json.loads(text + "}")
    assert event.pop("timestamp") == float(AT)
    return event


def settlement(state: str, **more: object) -> Settlement:
    return Settlement(message_id=1, task_id="t1", state=state, **more)  # type: ignore[arg-type]


def test_received() -> None:
    headers = {"argsrepr": "(2, 2)", "kwargsrepr": "{}", "root_id": "t0"}
    message = claimed("shop.tasks.add", headers=headers)
    event = read_event(*layout.received([read(message, Limits())], AT))
    assert event["type"] == "task-received"
    assert (event["name"], event["args"], event["kwargs"]) == ("shop.tasks.add", "(2, 2)", "{}")
    assert (event["uuid"], event["root_id"]) == (message.task_id, "t0")
    assert {"parent_id", "retries", "eta", "expires"} <= event.keys()


def test_received_believes_no_sender_about_what_is_sensitive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "guarded", {"shop.login"})
    headers = {"argsrepr": "({'task': 'shop.login', 'args': ['x']},)", "kwargsrepr": "{}"}
    event = read_event(*layout.received([read(claimed("shop.later", headers=headers), Limits())], AT))
    assert (event["args"], event["kwargs"]) == (MASK, "{}")
    assert taskinfo.message_info(claimed("shop.later", body="?"), "t", "shop.later", headers, "w")["args"] == MASK


@pytest.mark.parametrize(
    ("result", "shown"),
    [
        ("4", "4"),
        ('"a"', "'a'"),
        ("null", "None"),
        ("true", "True"),
        ("false", "False"),
        ('{"a": [1, true]}', "{'a': [1, True]}"),
        (None, "None"),
        ("{", "{"),
    ],
)
def test_succeeded_has_the_repr_of_the_value(result: str | None, shown: str) -> None:
    event = read_event(layout.ended(settlement(states.SUCCESS, result=result, runtime=0.5), AT))
    assert event == {"type": "task-succeeded", "uuid": "t1", "result": shown, "runtime": 0.5}


@pytest.mark.parametrize("at", [0.0, 1.000001, 7.25, 1795976471.387082, 1795976471.999999])
def test_a_time_keeps_its_microseconds(at: float) -> None:
    assert json.loads(layout.moment(at)) == at


@pytest.mark.parametrize("runtime", [0.0, 1.4343e-05, 0.1, 1e-9, 86_400.000000001, None])
def test_a_runtime_keeps_its_nanoseconds(runtime: float | None) -> None:
    end = settlement(states.SUCCESS, result="null", runtime=runtime)
    assert read_event(layout.ended(end, AT))["runtime"] == runtime


def test_a_long_value_is_cut() -> None:
    event = read_event(layout.ended(settlement(states.SUCCESS, result='"' + "x" * 100_000 + '"'), AT))
    assert len(event["result"]) == 1024


@pytest.mark.parametrize(("state", "kind"), [(states.FAILURE, "task-failed"), (states.RETRY, "task-retried")])
def test_failed_and_retried_have_exception_and_traceback(state: str, kind: str) -> None:
    error = encode_exception(ZeroDivisionError("division by zero"))
    event = read_event(layout.ended(settlement(state, result=error, traceback="Traceback"), AT))
    shown = "ZeroDivisionError('division by zero')"
    assert event == {"type": kind, "uuid": "t1", "exception": shown, "traceback": "Traceback"}


@pytest.mark.parametrize(("reason", "terminated", "expired"), [
    ("terminated", True, False), ("expired", False, True), ("revoked", False, False),
])  # fmt: skip
def test_revoked_says_how(reason: str, terminated: bool, expired: bool) -> None:
    end = settlement(states.REVOKED, result=encode_exception(TaskRevokedError(reason)))
    event = read_event(layout.ended(end, AT, Signals.SIGTERM))
    assert event == {
        "type": "task-revoked", "uuid": "t1", "terminated": terminated, "expired": expired, "signum": 15,
    }  # fmt: skip


@pytest.mark.parametrize(("state", "error"), [
    (states.REVOKED, TaskRevokedError("expired")), (states.FAILURE, NotRegistered("shop.gone")),
])  # fmt: skip
def test_what_was_refused_has_its_name(state: str, error: Exception) -> None:
    # Nobody has told of the task before: monitors know no other name of it.
    refused = settlement(state, name="shop.gone", result=encode_exception(error))
    assert read_event(layout.ended(refused, AT))["name"] == "shop.gone"
    refused.shadow = "gone"
    assert read_event(layout.ended(refused, AT))["name"] == "gone"
    ran = settlement(state, name="shop.gone", result=encode_exception(error), started=6.0)
    assert "name" not in read_event(layout.ended(ran, AT))


def test_what_did_not_end_has_no_event() -> None:
    assert layout.ended(settlement(states.IGNORED), AT) is None
    assert layout.ended(Settlement(message_id=1, task_id="", state=states.FAILURE), AT) is None


def test_sent() -> None:
    headers = {"id": "t1", "task": "shop.add", "root_id": "t0", "argsrepr": "(2, 2)", "kwargsrepr": "{}"}
    event = layout.sent(headers, "", "hipri")
    assert (event["uuid"], event["name"], event["args"], event["retries"]) == ("t1", "shop.add", "(2, 2)", 0)
    assert (event["queue"], event["exchange"], event["routing_key"]) == ("hipri", "", "hipri")


@pytest.mark.parametrize("strange", ['"\\\n\x00', "%s %d {0}", "\ud800", {"a": [1.5, None]}, 3, True, float("inf")])
def test_whatever_a_sender_has_put_into_its_headers_is_an_event(strange: Any) -> None:
    message = claimed("shop.tasks.add", headers={"argsrepr": strange, "kwargsrepr": strange, "shadow": "%s"})
    (text,) = layout.received([read(message, Limits())], AT)
    found = json.loads(text + "}")
    assert (found["args"], found["kwargs"], found["name"]) == (str(strange), str(strange), "%s")


def test_event_of_a_task_has_its_fields_and_what_the_worker_adds_last() -> None:
    report = Report(1, "t1", "", '{"done": 3}', at=float(AT), event="task-progress")
    assert read_event(layout.sent_by_task(report)) == {"type": "task-progress", "uuid": "t1", "done": 3}
    report.meta = "{}"
    assert read_event(layout.sent_by_task(report)) == {"type": "task-progress", "uuid": "t1"}


def test_message_of_events_has_the_common_fields() -> None:
    first, second = json.loads(
        Stamp('w1@"h').message([layout.started("a", layout.moment(1.0)), layout.started("b", layout.moment(2.0))])
    )
    assert first.keys() == {"type", "uuid", "timestamp", "hostname", "pid", "clock", "utcoffset"}
    assert (first["uuid"], first["hostname"], second["timestamp"]) == ("a", 'w1@"h', 2.0)
    assert second["clock"] == first["clock"] + 1 == lamport.value
