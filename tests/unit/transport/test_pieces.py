"""The parts of the transport that need no database."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from django.test import override_settings
from kombu import Connection

import taskq.transport
from taskq.messages.routing.topics import topic_matches
from taskq.records import Claimed
from taskq.store.exchanges import Target
from taskq.store.topology import queue_options
from taskq.transport.message import envelopes
from taskq.transport.prefetch_buffer import PrefetchBuffer
from taskq.transport.unacked import Unacked


@pytest.mark.parametrize(
    ("pattern", "fitting", "others"),
    [
        ("a.b", ["a.b"], ["a", "a.b.c", "axb", "b.a"]),
        ("*", ["a", ""], ["a.b"]),
        ("a.*", ["a.b", "a."], ["a", "a.b.c"]),
        ("#", ["", "a", "a.b.c"], []),
        ("a.#", ["a", "a.b", "a.b.c"], ["ab", "b.a"]),
        ("#.z", ["z", "a.z", "a.b.z"], ["z.a", "az"]),
        ("a.#.z", ["a.z", "a.b.z", "a.b.c.z"], ["a", "z", "az"]),
        ("*.#.*", ["a.b", "a.b.c"], ["a"]),
        ("a+.[x]", ["a+.[x]"], ["aa.x"]),
    ],
)
def test_topic_patterns_match_routing_keys(pattern: str, fitting: list[str], others: list[str]) -> None:
    assert [key for key in fitting + others if topic_matches(pattern, key)] == fitting


def test_queue_options_are_converted_to_seconds() -> None:
    options = queue_options(durable=True, arguments={"x-expires": 10000, "x-message-ttl": 500}, nowait=True)
    assert (options.durable, options.expires, options.message_ttl) == (True, 10.0, 0.5)
    assert queue_options(exclusive=True).expires == 86400.0
    assert queue_options(exclusive=True, arguments={"x-expires": 1000}).expires == 1.0


def claimed(number: int) -> Claimed:
    return Claimed(number, "q", "", "{}", "", "", "", "{}", "", "", 0, 0, False, False)


def test_unacked_counts_up_to_prefetch_and_forgets_taken_tags() -> None:
    out = Unacked(None, 3)
    for tag in (1, 2, 3):
        assert out.can_consume()
        out.append(claimed(tag), tag)
    assert not out.can_consume()
    assert out.take(2, multiple=True) == [1, 2]
    assert out.take(2) == []
    assert out.can_consume_max_estimate() == 2
    assert out.take_all() == [3]
    assert Unacked(None).can_consume_max_estimate() is None


def test_prefetch_buffer_claims_more_while_claims_are_used_up_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("taskq.transport.prefetch_buffer.monotonic", lambda: now[0])
    buffer, sizes = PrefetchBuffer(), []
    for _ in range(7):
        sizes.append(buffer.wanted("q", None))
        buffer.put("q", sizes[-1], [claimed(n) for n in range(sizes[-1])])
    assert sizes == [1, 2, 4, 8, 16, 32, 32]
    assert buffer.wanted("q", 5) == 5
    assert buffer.wanted("other", None) == 1
    now[0] += 1
    assert buffer.wanted("q", None) == 1
    assert len(buffer.take_all()) == sum(sizes)
    buffer.put("q", 4, [claimed(1)])
    assert buffer.wanted("q", None) == 1
    assert buffer.take("q") is not None
    assert buffer.take("q") is None


def envelope(body: Any = "x", ttl: float | None = None, headers: Any = None, **properties: Any) -> Any:
    message = {
        "body": body,
        "content-type": "text/plain",
        "content-encoding": "utf-8",
        "headers": headers or {},
        "properties": {"delivery_info": {}, "delivery_tag": "t", "priority": 0, **properties},
    }
    [made] = envelopes(message, "e", "k", [Target("q", ttl)], 1000.0)
    return made


def test_envelope_has_fields_of_a_kombu_message() -> None:
    made = envelope(headers={"id": "i", "task": "t.x"}, priority="7", reply_to="r")
    assert (made.queue, made.exchange, made.routing_key, made.task_id, made.name) == ("q", "e", "k", "i", "t.x")
    assert made.priority == 7
    assert made.properties == {"priority": "7", "reply_to": "r"}
    assert envelope(headers={"id": 5, "task": "x" * 300}).task_id == envelope(headers={"id": "x" * 300}).task_id == ""


@pytest.mark.parametrize(("given", "priority"), [(None, 0), ("high", 0), (-3, 0), (12, 9), (4, 4)])
def test_envelope_priority_is_clamped_to_0_to_9(given: Any, priority: int) -> None:
    assert envelope(priority=given).priority == priority


@override_settings(TASKQ_MAX_MESSAGE_SIZE=100)
@pytest.mark.parametrize("body", ["x" * 101, b"x" * 101], ids=["text", "bytes"])
def test_envelope_is_no_larger_than_what_is_read(body: Any) -> None:
    assert envelope(body[:100]).body
    with pytest.raises(ValueError, match="TASKQ_MAX_MESSAGE_SIZE"):
        envelope(body)


def test_envelope_expires_at_the_earliest_of_its_ends() -> None:
    assert envelope().expires is None
    assert envelope(expiration="5000").expires == 1005.0
    assert envelope(expiration="5000", ttl=2.0).expires == 1002.0
    task = {"task": "t", "id": "i", "expires": "1970-01-01T00:16:41+00:00"}
    assert envelope(expiration="5000", headers=task).expires == 1001.0
    assert envelope(headers={**task, "expires": "nonsense"}).expires is None
    # A number in the header of something else, such as remote control, is that one's own business.
    assert envelope(headers={"expires": 5.0}).expires is None


def test_envelope_body_is_text_unless_it_can_not_be() -> None:
    assert envelope(b"text").body == "text"
    assert envelope("a\x00").body == envelope(b"a\x00").body == b"a\x00"
    assert envelope(b"\xff").body == b"\xff"
    assert envelope(b"text", headers={"compression": "application/x-gzip"}).body == b"text"


@pytest.mark.parametrize(
    ("url", "uri"),
    [("django://", "django://"), ("django://Other_one/", "django://Other_one"), ("django:///", "django://")],
)
def test_connection_uri_is_kept_by_clones(url: str, uri: str) -> None:
    connection = Connection(url)
    assert connection.as_uri() == uri
    assert connection.clone().as_uri() == uri
    assert isinstance(connection.transport, taskq.transport.Transport)


def test_importing_the_transport_needs_no_settings_and_loads_no_model() -> None:
    code = (
        "import sys, taskq.transport, kombu; c = kombu.Connection('django://'); c.transport; "
        "assert not [m for m in sys.modules if m.startswith(('taskq.models', 'taskq.store'))]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={})
