from __future__ import annotations

import datetime
import json
import uuid
from decimal import Decimal
from typing import Any

import pytest
from django.test import override_settings
from django.utils.translation import gettext_lazy
from kombu.exceptions import ContentDisallowed, DecodeError

from taskq.exceptions import EncodeError
from taskq.messages import values
from taskq.results.async_result import AsyncResult


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        4,
        1.5,
        "käse \x00 \ud800",
        [1, [2]],
        {"a": None},
        b"\xff\x00",
        Decimal("1.10"),
        uuid.UUID(int=5),
        datetime.date(2026, 1, 2),
        [{"at": datetime.datetime(2026, 1, 2, 3, tzinfo=datetime.UTC)}],
    ],
)
def test_values_survive_encoding_as_json(value: Any) -> None:
    text, content_type = values.encode(value)
    assert content_type == "application/json"
    assert text.isascii()
    assert values.decode(text, content_type) == value


def test_encoded_text_is_what_kombus_json_writes() -> None:
    from kombu.utils.json import dumps

    value = {"when": datetime.datetime(2026, 1, 2), "of": [gettext_lazy("Yes"), uuid.UUID(int=1)]}
    assert values.encode(value)[0] == dumps(value)


@pytest.mark.parametrize("value", [{1, 2}, object(), {(1, 2): 3}, 10**5000], ids=["set", "object", "key", "huge"])
def test_value_that_json_can_not_carry_is_an_error_naming_the_setting(value: Any) -> None:
    with pytest.raises(EncodeError, match="TASKQ_RESULT_SERIALIZER") as caught:
        values.encode(value)
    assert caught.value.__cause__ is not None


def test_encode_error_names_the_type_and_keeps_the_reason() -> None:
    with pytest.raises(EncodeError) as caught:
        values.encode({1})
    text = str(caught.value)
    assert text.startswith("TypeError('Object of type set is not JSON serializable')")
    assert "of type set" in text


def test_circular_and_too_deep_values_are_encode_errors() -> None:
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(EncodeError):
        values.encode(circle)
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(EncodeError):
        values.encode(deep)


@override_settings(TASKQ_RESULT_SERIALIZER="pickle")
def test_binary_serializer_is_text_in_the_row() -> None:
    text, content_type = values.encode({1, 2})
    assert content_type == "application/x-python-serialize;base64"
    assert text.isascii()
    assert values.decode(text, content_type) == {1, 2}


def test_a_serializer_that_no_setting_names_is_not_read() -> None:
    text, content_type = values.encode({1}, "pickle")
    with pytest.raises(ContentDisallowed):
        values.decode(text, content_type)


@pytest.mark.parametrize("serializer", ["yaml", "msgpack"])
def test_values_survive_yaml_and_msgpack(serializer: str) -> None:
    pytest.importorskip(serializer)
    with override_settings(TASKQ_RESULT_SERIALIZER=serializer):
        text, content_type = values.encode({"a": [1, "ü"]})
        assert values.decode(text, content_type) == {"a": [1, "ü"]}


def test_encoding_with_an_unknown_serializer_is_an_error() -> None:
    with pytest.raises(EncodeError, match="nonsense"):
        values.encode(1, "nonsense")


def test_decoding_broken_text_is_an_error() -> None:
    with pytest.raises(DecodeError):
        values.decode("{")


def test_missing_text_is_decoded_as_none() -> None:
    assert values.decode(None) is None


def test_async_result_as_a_value_is_encoded_as_its_tuple() -> None:
    result = AsyncResult[int]("b", parent=AsyncResult[int]("a"))
    assert values.decode(values.encode(result)[0]) == [["b", [["a", None], None]], None]
    assert values.decode(values.encode([result])[0]) == [[["b", [["a", None], None]], None]]
    with override_settings(TASKQ_RESULT_SERIALIZER="pickle"):
        assert values.decode(*values.encode(result)) == result


def test_children_are_encoded_as_tuples_and_none_when_empty() -> None:
    text = values.encode_children([AsyncResult[int]("a")])
    assert text is not None
    assert json.loads(text) == [[["a", None], None]]
    assert values.decode_children(text) == [[["a", None], None]]
    assert values.encode_children([]) is None
    assert values.decode_children(None) == []
