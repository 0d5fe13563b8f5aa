"""``protocol.retry_envelope``: the same task once more, with all that belongs to it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from django.test import override_settings

from taskq.exceptions import EncodeError, InvalidTaskError
from taskq.messages import protocol
from taskq.records import Claimed, Envelope


def received(envelope: Envelope, **changes: Any) -> Claimed:
    """Return ``envelope`` as a worker gets it."""
    fields = {
        "id": 1,
        "queue": envelope.queue,
        "task_id": envelope.task_id,
        "headers": json.dumps(envelope.headers),
        "body": envelope.body,
        "content_type": envelope.content_type,
        "content_encoding": envelope.content_encoding,
        "properties": json.dumps(envelope.properties),
        "exchange": envelope.exchange,
        "routing_key": envelope.routing_key,
        "priority": envelope.priority,
        "deliveries": 1,
        "redelivered": False,
        "tracked": True,
    }
    return Claimed(**{**fields, **changes})


def sent(**options: Any) -> Envelope:
    return protocol.build(**{"name": "shop.add", "args": (2, 2), "queue": "q", **options})


WORKFLOW: dict[str, Any] = {
    **{
        "task_id": "t",
        "root_id": "r",
        "parent_id": "p",
        "group_id": "g",
        "group_index": 3,
        "priority": 7,
        "retries": 1,
    },
    **{
        "callbacks": [{"task": "cb"}],
        "errbacks": [{"task": "eb"}],
        "chain": [{"task": "next"}],
        "chord": {"task": "body"},
    },
    **{"headers": {"mine": "h"}, "time_limit": 9, "soft_time_limit": 5, "ignore_result": True, "shadow": "sh"},
    **{"stamped_headers": ["s"], "stamps": {"s": 1}, "expires": datetime(2040, 1, 1, tzinfo=UTC), "reply_to": "oid"},
}


def test_retry_keeps_all_but_the_count_and_the_eta() -> None:
    first = sent(**WORKFLOW)
    again = protocol.retry_envelope(received(first), countdown=10)
    assert again.headers == first.headers | {"retries": 2, "eta": again.headers["eta"]}
    assert list(again.headers) == list(first.headers)
    assert again.body == first.body
    assert (again.task_id, again.name, again.queue, again.routing_key, again.priority) == ("t", "shop.add", "q", "q", 7)
    assert (again.expires, again.reset) == (first.expires, False)
    assert 9 < again.delay <= 10
    assert again.properties == first.properties


def test_retry_without_countdown_has_no_eta() -> None:
    again = protocol.retry_envelope(received(sent(countdown=10)))
    assert (again.headers["eta"], again.delay) == (None, 0.0)


@pytest.mark.parametrize("serializer", ["json", "pickle"])
@pytest.mark.parametrize("compression", [None, "gzip"])
@override_settings(TASKQ_ACCEPT_CONTENT=["json", "pickle"])
def test_retry_with_new_arguments_keeps_followers_and_encoding(serializer: str, compression: str | None) -> None:
    first = sent(**WORKFLOW, serializer=serializer, compression=compression)
    again = protocol.retry_envelope(received(first), args=(3, 3))
    read = protocol.decode_body(again.body, again.content_type, again.content_encoding, again.headers, again.properties)
    assert read == (
        [3, 3],
        {},
        {name: WORKFLOW[name] for name in ("callbacks", "errbacks", "chain", "chord")},
    )
    assert again.content_type == first.content_type
    assert again.headers.get("compression") == first.headers.get("compression")
    assert again.headers["argsrepr"] == "(3, 3)"
    assert (again.arguments or "").startswith("[[3, 3], {}")
    same = protocol.retry_envelope(received(first))
    assert (same.body, same.properties) == (first.body, first.properties)


def test_retry_with_new_kwargs_keeps_args() -> None:
    again = protocol.retry_envelope(received(sent(kwargs={"a": 1})), kwargs={"b": 2})
    assert json.loads(again.body)[:2] == [[2, 2], {"b": 2}]
    assert again.headers["kwargsrepr"] == "{'b': 2}"


def test_retry_with_new_sensitive_arguments_masks_them() -> None:
    again = protocol.retry_envelope(received(sent()), args=(1, "s3cret"), shown=((1, "********"), {}))
    assert "s3cret" in again.body
    assert "s3cret" not in json.dumps([again.headers, again.arguments])


def test_retry_with_wrong_arguments_or_options_is_refused() -> None:
    message = received(sent())
    with pytest.raises(TypeError, match="args"):
        protocol.retry_envelope(message, args="ab")
    with pytest.raises(EncodeError, match=r"argument 1 of shop\.add"):
        protocol.retry_envelope(message, args=(object(),))
    with pytest.raises(TypeError, match="nope"):
        protocol.retry_envelope(message, nope=1)


def test_retry_may_change_queue_priority_limits_headers_and_expiry() -> None:
    again = protocol.retry_envelope(
        received(sent(time_limit=9, soft_time_limit=5)),
        **{"queue": "other", "priority": 2, "time_limit": 20, "headers": {"x": 1}, "expires": 60, "shadow": "s"},
        **{"ignore_result": True, "argsrepr": "(?)"},
    )
    assert (again.queue, again.exchange, again.routing_key, again.priority) == ("other", "", "other", 2)
    assert (again.headers["timelimit"], again.headers["x"], again.headers["shadow"]) == ([20, 5], 1, "s")
    assert (again.headers["ignore_result"], again.headers["argsrepr"]) == (True, "(?)")
    assert again.expires is not None
    assert again.properties["expiration"]


def test_retry_goes_to_the_exchange_the_message_came_through() -> None:
    message = received(sent(), queue="feeds", exchange="feed", routing_key="feed.import")
    again = protocol.retry_envelope(message)
    assert (again.exchange, again.routing_key) == ("feed", "feed.import")


def test_retry_drops_headers_that_a_delivery_added() -> None:
    first = sent()
    added = {"x-death": [{}], "x-first-death-queue": "q", "x-last-death-reason": "r", "redelivered": True}
    message = received(first, headers=json.dumps(first.headers | added))
    assert protocol.retry_envelope(message).headers == first.headers | {"retries": 1}


def test_retry_of_a_foreign_clients_message_fills_in_missing_headers() -> None:
    message = received(sent(), headers='{"task": "shop.add", "id": "js-1"}', properties="{}")
    again = protocol.retry_envelope(message)
    assert (again.headers["retries"], again.headers["timelimit"]) == (1, [None, None])
    assert again.properties["correlation_id"] == "js-1"


def test_retry_of_a_message_without_headers_is_refused() -> None:
    with pytest.raises(InvalidTaskError):
        protocol.retry_envelope(received(sent(), headers="[]"))
