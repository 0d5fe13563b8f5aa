"""``protocol.build``: arguments in the body and in the row, other serializers, and compression."""

from __future__ import annotations

import base64
import json
import zlib
from datetime import UTC
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Any

import pytest
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

from taskq.exceptions import EncodeError
from taskq.messages import protocol
from taskq.records import Envelope

from .test_protocol_build import EMPTY_EMBED, body_of, build

# -- arguments ------------------------------------------------------------------------------------


@pytest.mark.parametrize("args", ["ab", 5, {1: 2}, iter([1])], ids=["text", "number", "mapping", "iterator"])
def test_args_are_a_list_or_a_tuple(args: Any) -> None:
    with pytest.raises(TypeError, match="args"):
        build(args=args)


@pytest.mark.parametrize("kwargs", [[1], "a", {1: 2}], ids=repr)
def test_kwargs_are_a_mapping_of_names(kwargs: Any) -> None:
    with pytest.raises(TypeError, match="kwargs"):
        build(kwargs=kwargs)


def test_arguments_are_kept_as_json_for_the_row() -> None:
    assert build(args=[1, "é"], kwargs={"k": None}).arguments == '[[1, "\\u00e9"], {"k": null}]'


def test_sensitive_arguments_are_only_in_the_body() -> None:
    envelope = build(
        args=("hugo", "s3cret"),
        kwargs={"pin": "s3cret", "to": 1},
        shown=(("hugo", "********"), {"pin": "********", "to": 1}),
    )
    assert body_of(envelope)[:2] == [["hugo", "s3cret"], {"pin": "s3cret", "to": 1}]
    assert envelope.headers["argsrepr"] == "('hugo', '********')"
    assert envelope.headers["kwargsrepr"] == "{'pin': '********', 'to': 1}"
    assert envelope.arguments == '[["hugo", "********"], {"pin": "********", "to": 1}, {"masked": true}]'
    assert "s3cret" not in json.dumps([envelope.headers, envelope.properties, envelope.arguments])


def test_given_argsrepr_and_kwargsrepr_are_sent_and_cut() -> None:
    headers = build(argsrepr="(hidden)", kwargsrepr="x" * 5000).headers
    assert (headers["argsrepr"], len(headers["kwargsrepr"])) == ("(hidden)", 1024)


def test_message_above_the_maximum_size_is_refused() -> None:
    with override_settings(TASKQ_MAX_MESSAGE_SIZE=1000), pytest.raises(ValueError, match="TASKQ_MAX_MESSAGE_SIZE"):
        build(args=("x" * 1000,))


# -- other serializers, compression ---------------------------------------------------------------


def test_pickled_body_is_base64() -> None:
    import pickle

    envelope = build(args=({1, 2},), serializer="pickle")
    assert (envelope.content_type, envelope.content_encoding) == ("application/x-python-serialize", "binary")
    assert envelope.properties["body_encoding"] == "base64"
    assert pickle.loads(base64.b64decode(envelope.body)) == (({1, 2},), {}, EMPTY_EMBED)
    assert envelope.arguments is None  # JSON can't hold a set
    assert envelope.headers["argsrepr"] == "({1, 2},)"
    assert build(serializer="pickle").arguments == '[[1, 2], {}, {"serializer": "pickle"}]'


def test_compressed_body_is_base64_with_header() -> None:
    envelope = build(args=("x" * 1000,), compression="gzip")
    assert envelope.headers["compression"] == "application/x-gzip"
    assert envelope.properties["body_encoding"] == "base64"
    assert len(envelope.body) < 200
    assert json.loads(zlib.decompress(base64.b64decode(envelope.body)))[0] == ["x" * 1000]
    with override_settings(TASKQ_COMPRESSION="zlib"):
        assert build().headers["compression"] == "application/x-gzip"


def test_unknown_serializer_and_compression_are_refused() -> None:
    with pytest.raises(EncodeError, match="TASKQ_SERIALIZER"):
        build(serializer="nope")
    with pytest.raises(EncodeError, match="TASKQ_COMPRESSION"):
        build(compression="nope")


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.datetimes(timezones=st.just(UTC))
    | st.dates()
    | st.uuids()
    | st.decimals(allow_nan=False).map(Decimal),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
).filter(lambda value: not (isinstance(value, dict) and value.keys() == {"__type__", "__value__"}))


@given(args=st.lists(plain, max_size=4), kwargs=st.dictionaries(st.text(), plain, max_size=3), compress=st.booleans())
def test_built_messages_are_read_again(args: list[Any], kwargs: dict[str, Any], compress: bool) -> None:
    envelope = build(args=args, kwargs=kwargs, compression="gzip" if compress else None)
    headers = json.loads(json.dumps(envelope.headers))
    properties = json.loads(json.dumps(envelope.properties))
    envelope_body = str(envelope.body).encode().decode()  # it is text
    read = protocol.decode_body(envelope_body, envelope.content_type, envelope.content_encoding, headers, properties)
    assert read == (args, kwargs, EMPTY_EMBED)
    assert protocol.read_headers(headers).id == envelope.task_id
    for name in ("argsrepr", "kwargsrepr"):
        assert len(headers[name]) <= 1024


class Name(StrEnum):
    A = "a"


class Level(IntEnum):
    HIGH = 9


def _types(value: Any) -> set[type]:
    """Return the types of all that is in ``value``."""
    if isinstance(value, dict):
        return set().union(*map(_types, (*value, *value.values())))
    return set().union(*map(_types, value)) if isinstance(value, list | tuple) else {type(value)}


def test_members_of_enumerations_become_their_values() -> None:
    """Pipes between processes take no subclass of a text or a number, and PostgreSQL's client writes their names."""
    name = Name.A
    options: dict[str, Any] = {
        **{"name": name, "queue": name, "task_id": name, "exchange": name, "routing_key": name, "shadow": name},
        **{"group_id": name, "parent_id": name, "root_id": name, "reply_to": name, "argsrepr": name},
        **{"priority": Level.HIGH, "time_limit": Level.HIGH, "headers": {name: {"in": [name, Level.HIGH]}}},
        **{"stamps": {name: name}, "stamped_headers": [name]},
    }
    envelope = protocol.build(**options)
    fields = [getattr(envelope, field) for field in Envelope.__slots__]
    assert _types(fields) <= {str, int, float, bool, type(None)}
    assert (envelope.queue, envelope.priority, envelope.headers["a"]) == ("a", 9, {"in": ["a", 9]})
