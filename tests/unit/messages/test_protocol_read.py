"""``protocol.read_headers``, ``decode_body`` and ``upgrade``: what strangers may send, and how it ends."""

from __future__ import annotations

import base64
import contextlib
import json
import pickle
import zlib
from datetime import UTC, datetime
from typing import Any

import pytest
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

from taskq.exceptions import ContentDisallowed, DecodeError, InvalidTaskError
from taskq.messages import protocol

EMPTY_EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
JSON = "application/json"


def read(**headers: Any) -> protocol.TaskHeaders:
    return protocol.read_headers({"task": "shop.add", "id": "1", **headers})


def decode(body: Any, headers: dict[str, Any] | None = None, **properties: Any) -> Any:
    text = body if isinstance(body, str | bytes) else json.dumps(body)
    return protocol.decode_body(text, JSON, "utf-8", headers or {"task": "a", "id": "1"}, properties)


# -- headers ------------------------------------------------------------------------------


def test_headers_with_only_task_and_id_are_read() -> None:
    headers = read()
    assert (headers.task, headers.id, headers.root_id, headers.retries) == ("shop.add", "1", "1", 0)
    assert (headers.eta, headers.expires, headers.time_limit, headers.soft_time_limit) == (None,) * 4
    assert (headers.ignore_result, headers.stamps, headers.argsrepr, headers.extra) == (None, {}, "", {})


def test_all_built_headers_are_read() -> None:
    envelope = protocol.build(
        **{"name": "shop.add", "queue": "q", "args": (2, 2), "task_id": "1", "retries": 3, "shadow": "sh"},
        **{"eta": datetime(2040, 1, 1, tzinfo=UTC), "expires": datetime(2040, 1, 2, tzinfo=UTC), "time_limit": 9},
        **{"soft_time_limit": 4.5, "root_id": "r", "parent_id": "p", "group_id": "g", "group_index": 2},
        **{"ignore_result": True, "headers": {"mine": [1]}, "stamped_headers": ["s"], "stamps": {"s": 1}},
    )
    headers = protocol.read_headers(json.loads(json.dumps(envelope.headers)))
    assert (headers.eta, headers.expires) == (datetime(2040, 1, 1, tzinfo=UTC), datetime(2040, 1, 2, tzinfo=UTC))
    assert (headers.retries, headers.time_limit, headers.soft_time_limit, headers.shadow) == (3, 9, 4.5, "sh")
    assert (headers.root_id, headers.parent_id, headers.group, headers.group_index) == ("r", "p", "g", 2)
    assert (headers.ignore_result, headers.extra, headers.stamped_headers, headers.stamps) == (
        *(True, {"mine": [1]}, ["s"]),
        {"s": 1},
    )
    assert (headers.argsrepr, headers.origin) == ("(2, 2)", protocol.origin())


@override_settings(TASKQ_TIMEZONE="Asia/Tokyo")
def test_naive_header_time_is_in_the_zone_of_the_worker() -> None:
    assert read(eta="2040-01-01T09:00:00").eta == datetime(2040, 1, 1, tzinfo=UTC)
    assert read(expires=datetime(2040, 1, 1, 9)).expires == datetime(2040, 1, 1, tzinfo=UTC)  # as AMQP may carry it


@pytest.mark.parametrize(
    "wrong",
    [
        *({"task": value} for value in (None, "", 5, "x" * 256, "a\0b", "\ud800")),
        *({"id": value} for value in (None, "", 5, "x" * 256, "a\0b", "\ud800", ["1"])),
        *({name: value} for name in ("root_id", "parent_id", "group") for value in (5, "\0", "x" * 256)),
        *({name: value} for name in ("eta", "expires") for value in ("soon", 5, [], "9999-12-31T23:59:59-10:00")),
        *({"retries": value} for value in ("1", 1.5, -1, True, [])),
        *({"timelimit": value} for value in (5, [1], [1, 2, 3], ["1", None], [-1, None], "ab", {"a": 1})),
        {"group_index": "first"},
    ],
    ids=repr,
)
def test_invalid_header_values_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidTaskError, match=next(iter(wrong))):
        read(**wrong)


def test_invalid_values_of_headers_that_are_only_shown_are_read() -> None:
    headers = read(
        shadow=5, origin=[1], argsrepr=None, kwargsrepr=7, stamps=[1], stamped_headers=5, replaced_task_nesting="x"
    )
    assert (headers.shadow, headers.origin, headers.argsrepr, headers.kwargsrepr) == ("5", "[1]", "", "7")
    assert (headers.stamps, headers.stamped_headers, headers.replaced_task_nesting) == ({}, None, 0)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*protocol.HEADERS, "compression", "x"]), json_values))
def test_any_headers_are_read_or_invalid(headers: dict[str, Any]) -> None:
    with contextlib.suppress(InvalidTaskError):
        assert protocol.read_headers(headers).task == headers["task"]


# -- bodies ---------------------------------------------------------------------------------


def test_body_has_args_kwargs_and_embed_with_defaults() -> None:
    follows = {"chain": [{"task": "next"}], "errbacks": {"task": "alone"}, "chord": {"task": "body"}}
    assert decode([[1], {"a": 2}, follows]) == ([1], {"a": 2}, EMPTY_EMBED | follows)
    assert decode([[], {}, {"callbacks": [], "chord": {}}])[2] == EMPTY_EMBED | {"callbacks": [], "chord": {}}
    assert decode([[], {}, None]) == ([], {}, EMPTY_EMBED)
    assert decode(b'[[1], {}, {"foreign": 1}]')[2] == EMPTY_EMBED | {"foreign": 1}


@pytest.mark.parametrize(
    "body",
    [
        [[], {}],
        [[], {}, {}, {}],
        "[]",
        "5",
        '"ab"',
        "null",
        [5, {}, {}],
        ["ab", {}, {}],
        [[], [1], {}],
        [[], None, {}],
        [[], {}, 5],
        *([[], {}, {name: value}] for name in protocol.EMBED for value in ([5], "abc", 5, {"args": []}, {"task": 5})),
        [[], {}, {"callbacks": [{"task": "known"}, None]}],
        [[], {}, {"chord": [{"task": "known"}]}],
    ],
    ids=repr,
)
def test_bodies_of_the_wrong_shape_are_invalid(body: Any) -> None:
    with pytest.raises(InvalidTaskError):
        decode(body)


@pytest.mark.parametrize(
    "body",
    ["", "{", "[[1], {}", b"\xff\xfe", '[[{"__type__": "nope", "__value__": 1}], {}, {}]', "[" * 100_000],
    ids=lambda b: repr(b)[:20],
)
def test_undecodable_bodies_are_decode_errors(body: Any) -> None:
    with pytest.raises(DecodeError):
        decode(body)


def test_content_type_that_is_not_accepted_is_refused() -> None:
    body = base64.b64encode(pickle.dumps(([1], {}, {}))).decode()
    arguments = (body, "application/x-python-serialize", "binary", {}, {"body_encoding": "base64"})
    with pytest.raises(ContentDisallowed, match="TASKQ_ACCEPT_CONTENT"):
        protocol.decode_body(*arguments)
    with override_settings(TASKQ_ACCEPT_CONTENT=["json", "pickle"]):
        assert protocol.decode_body(*arguments) == ([1], {}, EMPTY_EMBED)
    with pytest.raises(ContentDisallowed):
        protocol.decode_body(*arguments)


@pytest.mark.parametrize("content_type", ["application/data", "text/plain", "", "x"])
def test_content_types_other_than_serializers_are_refused(content_type: str) -> None:
    with pytest.raises(ContentDisallowed):
        protocol.decode_body("[[], {}, {}]", content_type, "utf-8", {}, {})


def test_base64_and_compressed_bodies_are_unwrapped() -> None:
    payload = b"[[1], {}, {}]"
    packed = zlib.compress(payload)
    assert decode(base64.b64encode(payload).decode(), body_encoding="base64") == ([1], {}, EMPTY_EMBED)
    headers = {"compression": "application/x-gzip"}
    assert decode(packed, headers) == ([1], {}, EMPTY_EMBED)
    assert decode(base64.b64encode(packed).decode(), headers, body_encoding="base64") == ([1], {}, EMPTY_EMBED)
    with pytest.raises(DecodeError, match="base64"):
        decode("not base64!", body_encoding="base64")
    with pytest.raises(DecodeError, match="x-gzip"):
        decode("[[], {}, {}]", headers)
    with pytest.raises(DecodeError, match="x-rot13"):
        decode("[[], {}, {}]", {"compression": "application/x-rot13"})


@pytest.mark.parametrize("body", ['[["' + "x" * 1000 + '"], {}, {}]', zlib.compress(b"[[0], {}, {}]" + b" " * 100_000)])
def test_body_above_the_maximum_size_is_refused_even_when_compressed(body: Any) -> None:
    headers = {"compression": "application/x-gzip"} if isinstance(body, bytes) else {}
    with override_settings(TASKQ_MAX_MESSAGE_SIZE=500), pytest.raises(InvalidTaskError, match="TASKQ_MAX_MESSAGE_SIZE"):
        decode(body, headers)


@given(json_values)
def test_any_json_body_is_read_or_invalid(value: Any) -> None:
    try:
        args, kwargs, embed = decode(json.dumps(value))
    except (InvalidTaskError, DecodeError):
        return
    assert isinstance(args, list)
    assert isinstance(kwargs, dict)
    assert embed.keys() >= EMPTY_EMBED.keys()


# -- protocol 1 and what is between -----------------------------------------------------------

OLD = {
    **{"task": "shop.add", "id": "old-1", "args": [2, 2], "kwargs": {"z": 1}, "retries": 2, "utc": True},
    **{"eta": "2040-01-01T00:00:00", "expires": None, "callbacks": [{"task": "cb"}], "errbacks": None},
    **{"timelimit": [10, 5], "taskset": "g", "chord": None},
}


def test_protocol_1_message_is_upgraded() -> None:
    headers, body = protocol.upgrade({}, OLD)
    read = protocol.read_headers(headers)
    assert (read.task, read.id, read.retries, read.group, read.time_limit, read.soft_time_limit) == (
        *("shop.add", "old-1", 2, "g", 10),
        5,
    )
    assert read.eta == datetime(2040, 1, 1, tzinfo=UTC)
    assert body == [[2, 2], {"z": 1}, EMPTY_EMBED | {"callbacks": [{"task": "cb"}]}]


@override_settings(TASKQ_TIMEZONE="Asia/Tokyo")
def test_protocol_1_without_utc_is_in_local_time() -> None:
    headers, _ = protocol.upgrade({}, OLD | {"utc": False})
    assert protocol.read_headers(headers).eta == datetime(2039, 12, 31, 15, tzinfo=UTC)


def test_headers_win_over_a_protocol_1_body() -> None:
    headers, body = protocol.upgrade({"task": "new.name", "id": "n", "retries": 0}, OLD)
    assert (headers["task"], headers["id"], headers["retries"]) == ("new.name", "n", 0)
    assert decode(OLD, {"task": "new.name", "id": "n"}) == ([2, 2], {"z": 1}, body[2])


@pytest.mark.parametrize("body", [{}, {"id": "1"}, [1], None, "x"], ids=repr)
def test_upgrading_a_body_without_a_task_is_refused(body: Any) -> None:
    with pytest.raises(InvalidTaskError):
        protocol.upgrade({}, body)


def test_upgraded_message_drops_compression_and_signature_headers() -> None:
    headers, body = protocol.upgrade({"compression": "application/x-gzip", "taskq_signature": "x", "mine": 1}, OLD)
    assert headers.keys().isdisjoint({"compression", "taskq_signature"})
    assert (headers["mine"], headers["argsrepr"], headers["kwargsrepr"]) == (1, "[2, 2]", "{'z': 1}")
    assert decode(body, headers)[0] == [2, 2]
