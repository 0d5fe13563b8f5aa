"""``protocol.build``: what is on the wire, as Celery 5.7 writes it, and what is refused at the call."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from django.test import override_settings

from taskq.exceptions import EncodeError
from taskq.messages import protocol
from taskq.records import Envelope

HEADERS_IN_ORDER = [
    *("lang", "task", "id", "shadow", "eta", "expires", "group", "group_index", "retries", "timelimit", "root_id"),
    *(
        "parent_id",
        "argsrepr",
        "kwargsrepr",
        "origin",
        "ignore_result",
        "replaced_task_nesting",
        "stamped_headers",
        "stamps",
    ),
]
EMPTY_EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


def build(**options: Any) -> Envelope:
    return protocol.build(**{"name": "capapp.add", "args": (1, 2), "queue": "celery", **options})


def body_of(envelope: Envelope) -> Any:
    return json.loads(envelope.body)


def signature(*args: Any, **options: Any) -> dict[str, Any]:
    """A signature as Celery writes it."""
    return {
        **{"task": "capapp.add", "args": list(args), "kwargs": {}, "options": options},
        **{"subtask_type": None, "immutable": False},
    }


# -- the call shapes that were captured from Celery 5.7 --------------------------------


def test_message_without_options_is_celerys() -> None:
    envelope = build()
    assert list(envelope.headers) == HEADERS_IN_ORDER
    assert envelope.headers == {
        "lang": "py",
        "task": "capapp.add",
        "id": envelope.task_id,
        "shadow": None,
        "eta": None,
        "expires": None,
        "group": None,
        "group_index": None,
        "retries": 0,
        "timelimit": [None, None],
        "root_id": envelope.task_id,
        "parent_id": None,
        "argsrepr": "(1, 2)",
        "kwargsrepr": "{}",
        "origin": f"gen{os.getpid()}@{socket.gethostname()}",
        "ignore_result": False,
        "replaced_task_nesting": 0,
        "stamped_headers": None,
        "stamps": {},
    }
    assert (envelope.content_type, envelope.content_encoding) == ("application/json", "utf-8")
    assert body_of(envelope) == [[1, 2], {}, EMPTY_EMBED]
    assert envelope.properties == {
        "correlation_id": envelope.task_id,
        "reply_to": envelope.properties["reply_to"],
        "delivery_mode": 2,
    }
    assert UUID(envelope.properties["reply_to"])
    assert (envelope.exchange, envelope.routing_key, envelope.queue) == ("", "celery", "celery")
    assert (envelope.priority, envelope.delay, envelope.expires) == (0, 0.0, None)


def test_message_with_options_is_celerys() -> None:
    before = time.time()
    envelope = build(
        queue="hipri",
        countdown=30,
        expires=60,
        shadow="sh",
        time_limit=10,
        soft_time_limit=5,
        ignore_result=True,
        headers={"my": "h"},
        priority=5,
        callbacks=[signature(5)],
        errbacks=[signature() | {"task": "capapp.errb"}],
    )
    headers = envelope.headers
    assert list(headers) == [*HEADERS_IN_ORDER, "my"]
    assert headers["eta"].endswith("+00:00")
    eta, expires = (datetime.fromisoformat(headers[name]) for name in ("eta", "expires"))
    assert expires - eta == pytest.approx(timedelta(seconds=30), abs=timedelta(seconds=5))
    assert before + 30 <= eta.timestamp() <= time.time() + 30
    assert (headers["shadow"], headers["timelimit"], headers["ignore_result"]) == ("sh", [10, 5], True)
    assert headers["my"] == "h"
    assert list(envelope.properties) == ["correlation_id", "reply_to", "delivery_mode", "expiration", "priority"]
    assert 59_000 <= int(envelope.properties["expiration"]) <= 60_000
    assert envelope.properties["priority"] == envelope.priority == 5
    assert 29 < envelope.delay <= 30
    assert envelope.expires == expires.timestamp()
    assert body_of(envelope)[2] == {
        "callbacks": [signature(5)],
        "errbacks": [signature() | {"task": "capapp.errb"}],
        "chain": None,
        "chord": None,
    }


def test_chain_is_written_into_the_body_as_given() -> None:
    chain = [signature(4, task_id="d"), signature(3, task_id="c")]
    assert body_of(build(chain=chain))[2] == EMPTY_EMBED | {"chain": chain}


def test_group_member_and_chord_header() -> None:
    body = signature() | {"task": "capapp.tsum", "options": {"task_id": "b", "reply_to": "r", "group_id": "g"}}
    envelope = build(group_id="g", group_index=0, chord=body)
    assert (envelope.headers["group"], envelope.headers["group_index"]) == ("g", 0)
    assert body_of(envelope)[2] == EMPTY_EMBED | {"chord": body}


def test_map_is_celerys() -> None:
    task = {"task": "capapp.add", "args": (), "kwargs": {}, "options": {}, "subtask_type": None, "immutable": False}
    envelope = build(name="celery.map", args=(), kwargs={"task": task, "it": [1, 2]})
    assert envelope.headers["argsrepr"] == "()"
    assert envelope.headers["kwargsrepr"] == (
        "{'task': {'task': 'capapp.add', 'args': (), 'kwargs': {}, 'options': {}, "
        "'subtask_type': None, 'immutable': False}, 'it': [1, 2]}"
    )
    assert body_of(envelope) == [[], {"task": task | {"args": []}, "it": [1, 2]}, EMPTY_EMBED]


def test_stamps_are_headers() -> None:
    envelope = build(stamped_headers=["tenant", "n"], stamps={"tenant": "t1", "n": [1, 2]})
    assert envelope.headers["stamped_headers"] == ["tenant", "n"]
    assert envelope.headers["stamps"] == {"tenant": "t1", "n": [1, 2]}


def test_lineage_and_retries_are_headers() -> None:
    headers = build(
        task_id="t", root_id="r", parent_id="p", retries=2, replaced_task_nesting=1, origin="gen1@x"
    ).headers
    assert [headers[name] for name in ("root_id", "parent_id", "retries", "replaced_task_nesting", "origin")] == [
        *("r", "p", 2, 1),
        "gen1@x",
    ]


# -- who sends ----------------------------------------------------------------------------


def test_reply_to_is_one_per_thread_and_may_be_given() -> None:
    first, again = build().properties["reply_to"], build().properties["reply_to"]
    other: list[str] = []
    thread = threading.Thread(target=lambda: other.append(build().properties["reply_to"]))
    thread.start()
    thread.join()
    assert first == again != other[0]
    assert build(reply_to="q").properties["reply_to"] == "q"


def test_forked_child_has_its_own_origin_and_reply_to() -> None:
    build()
    reader, writer = os.pipe()
    if not (pid := os.fork()):
        try:
            sent = build()
            os.write(writer, f"{sent.headers['origin']} {sent.properties['reply_to']}".encode())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    origin, reply_to = os.read(reader, 1000).decode().split()
    assert origin.startswith(f"gen{pid}@")
    assert reply_to != build().properties["reply_to"]


# -- ids -------------------------------------------------------------------------------------


@pytest.mark.parametrize("task_id", ["x", "not-a-uuid", "ünïcode-✓", "i" * 255])
def test_any_string_is_a_task_id(task_id: str) -> None:
    envelope = build(task_id=task_id)
    assert envelope.task_id == envelope.headers["id"] == envelope.properties["correlation_id"] == task_id
    assert envelope.reset


def test_generated_id_or_reset_false_marks_no_reset() -> None:
    assert not build().reset
    assert not build(task_id="x", reset=False).reset


@pytest.mark.parametrize("task_id", ["", "i" * 256, "nul\0", "\ud800"])
def test_ids_and_names_that_no_row_can_hold_are_refused(task_id: str) -> None:
    for option in ("task_id", "name"):
        with pytest.raises(ValueError, match=option):
            build(**{option: task_id})


def test_id_that_is_no_text_is_refused() -> None:
    with pytest.raises(TypeError, match="task_id"):
        build(task_id=UUID(int=1))


# -- times ------------------------------------------------------------------------------------


def test_countdown_may_be_a_fraction_of_a_second() -> None:
    assert 0 < build(countdown=0.25).delay <= 0.25


def test_countdown_zero_is_at_once() -> None:
    envelope = build(countdown=0)
    assert (envelope.headers["eta"], envelope.delay) == (None, 0.0)


@pytest.mark.parametrize("options", [{"countdown": -5}, {"eta": datetime(2001, 1, 1, tzinfo=UTC)}])
def test_past_eta_and_negative_countdown_have_no_delay(options: dict[str, Any]) -> None:
    envelope = build(**options)
    assert envelope.delay == 0.0
    assert datetime.fromisoformat(envelope.headers["eta"]) < datetime.now(UTC)


def test_countdown_beats_eta() -> None:
    assert build(countdown=1, eta=datetime.now(UTC) + timedelta(days=1)).delay <= 1
    with pytest.raises(ValueError, match="eta"):
        build(countdown=1, eta="garbage")


def test_eta_is_written_in_utc() -> None:
    eta = datetime(2040, 6, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    assert build(eta=eta).headers["eta"] == "2040-06-01T10:00:00+00:00"
    assert build(eta="2040-06-01T12:00:00+02:00").headers["eta"] == "2040-06-01T10:00:00+00:00"


@override_settings(TASKQ_TIMEZONE="Europe/Berlin")
def test_naive_eta_is_in_the_zone_of_the_setting() -> None:
    assert build(eta=datetime(2040, 1, 1, 12)).headers["eta"] == "2040-01-01T11:00:00+00:00"
    with pytest.raises(ValueError, match=r"eta.*Europe/Berlin"):
        build(eta=datetime(2026, 3, 29, 2, 30))  # the clocks jump over it
    with pytest.raises(ValueError, match=r"expires.*Europe/Berlin"):
        build(expires=datetime(2026, 10, 25, 2, 30))  # it comes twice


@pytest.mark.parametrize(
    "options",
    [
        *({"countdown": value} for value in (1e20, -1e20, float("inf"), float("nan"), 86400 * 366 * 9000)),
        {"eta": datetime.max.replace(tzinfo=UTC)},
        {"eta": datetime.max.replace(tzinfo=timezone(timedelta(hours=-5)))},
        {"eta": datetime.min.replace(tzinfo=timezone(timedelta(hours=5)))},
        {"eta": "tomorrow"},
        *({"expires": value} for value in (1e20, float("nan"), datetime.max.replace(tzinfo=UTC), "soon")),
    ],
    ids=str,
)
def test_times_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        build(**options)


@pytest.mark.parametrize("options", [{"countdown": "10"}, {"countdown": True}, {"eta": 10}, {"expires": [1]}], ids=str)
def test_times_of_the_wrong_type_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=next(iter(options))):
        build(**options)


def test_expires_is_header_and_expiration_property() -> None:
    moment = datetime(2040, 1, 1, tzinfo=UTC)
    envelope = build(expires=moment)
    assert (envelope.headers["expires"], envelope.expires) == ("2040-01-01T00:00:00+00:00", moment.timestamp())
    assert "expiration" not in envelope.properties  # RabbitMQ takes no more than 49 days
    assert build(expires=-1).properties["expiration"] == "0"
    assert 9_000 <= int(build(expires=timedelta(seconds=10)).properties["expiration"]) <= 10_000


def test_expiration_is_the_milliseconds_that_are_left() -> None:
    assert protocol.expiration(160.0, 100.0) == "60000"
    assert protocol.expiration(100.07, 100.0) == "70"
    assert protocol.expiration(50.0, 100.0) == "0"


# -- priority, limits, options ------------------------------------------------------------------


@pytest.mark.parametrize("priority", [-1, 10, 2.5, "3", True])
def test_priorities_other_than_0_to_9_are_refused(priority: Any) -> None:
    with pytest.raises(ValueError, match="priority"):
        build(priority=priority)


def test_priority_zero_is_sent_when_asked_for() -> None:
    assert build(priority=0).properties["priority"] == 0
    with override_settings(TASKQ_DEFAULT_PRIORITY=4):
        assert (build().priority, build().properties["priority"]) == (4, 4)
        assert build(priority=0).priority == 0


def test_time_limits_are_a_header_and_wrong_ones_are_refused() -> None:
    assert build(time_limit=9).headers["timelimit"] == [9, None]
    assert build(soft_time_limit=2.5).headers["timelimit"] == [None, 2.5]
    for wrong in ("10", -1, True, float("nan"), float("inf"), 3e9):
        for option in ("time_limit", "soft_time_limit"):
            with pytest.raises(ValueError, match=f"{option} must be a number of seconds from 0 to 2147483647"):
                build(**{option: wrong})


@pytest.mark.parametrize(
    ("option", "wrong", "error"),
    [
        *((option, 5, TypeError) for option in ("root_id", "parent_id", "group_id", "argsrepr", "kwargsrepr")),
        *((option, "i" * 256, ValueError) for option in ("root_id", "parent_id", "group_id")),
        *((option, "x", TypeError) for option in ("retries", "group_index", "replaced_task_nesting")),
        *((option, -1, ValueError) for option in ("retries", "group_index", "replaced_task_nesting")),
        *((option, 2**31, ValueError) for option in ("retries", "group_index", "replaced_task_nesting")),
        ("retries", 1.5, TypeError),
        ("group_index", True, TypeError),
    ],
)
def test_options_that_a_worker_would_refuse_are_not_sent(option: str, wrong: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=f"^{option} must "):
        build(**{option: wrong})


def test_largest_numbers_and_ids_that_are_sent_are_read() -> None:
    most = 2**31 - 1
    envelope = build(time_limit=most, soft_time_limit=most, retries=most, group_id="g" * 255, group_index=most)
    headers = protocol.read_headers(envelope.headers)
    assert (headers.time_limit, headers.soft_time_limit, headers.retries, headers.group_index) == (most,) * 4


def test_unknown_options_are_refused() -> None:
    with pytest.raises(TypeError, match="cuontdown"):
        build(cuontdown=1)


def test_header_templates_are_not_shared_between_messages() -> None:
    first = build()
    first.headers["stamps"]["x"] = 1
    first.headers["timelimit"][0] = 1
    assert build().headers["stamps"] == {}
    assert build().headers["timelimit"] == [None, None]


# -- headers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*HEADERS_IN_ORDER, "compression", "taskq_signature"])
def test_custom_headers_named_as_protocol_headers_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        build(headers={name: "x"})


def test_headers_and_stamps_that_can_not_be_encoded_are_refused() -> None:
    with pytest.raises(EncodeError, match="header 'who'"):
        build(headers={"who": object()})
    with pytest.raises(EncodeError, match="stamp 'who'"):
        build(stamps={"who": object()})
    with pytest.raises(TypeError, match="headers"):
        build(headers=["a"])
    assert build(stamps={"who": {1}}).headers["stamps"] == {"who": [1]}
