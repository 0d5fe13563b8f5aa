"""A value arrives as it was sent, or is refused where it is sent; a value that is stored can be read."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

from taskq import states, task
from taskq.exceptions import DecodeError, EncodeError
from taskq.messages import values
from taskq.messages.round_trip import is_marked
from taskq.records import Envelope
from tests.unit.tasks.fixtures import Worker, registry, sent, worker

__all__ = ["registry", "sent", "worker"]

MARKED = {"__type__": "date", "__value__": "2040-01-01"}
UNREADABLE = {"__type__": "nothing", "__value__": 1}
HOLDERS = [MARKED, UNREADABLE, {"__type__": [], "__value__": 1}, [{"a": (MARKED,)}]]
ALLOWED = [
    {"__type__": "date"},
    {"__type__": "date", "__value__": 1, "more": 2},
    {"a": '{"__type__": 1}'},
    ["__type__"],
]


@pytest.fixture
def echo() -> Any:
    return task(name="echo")(lambda value=None: value)


@pytest.mark.parametrize("value", HOLDERS)
def test_plain_data_with_another_meaning_is_refused_as_an_argument(
    sent: list[Envelope], worker: Worker, echo: Any, value: Any
) -> None:
    for call in (
        lambda: echo.delay(value),
        lambda: echo.apply_async(kwargs={"value": [value]}),
        lambda: echo.apply_async((1,), link=echo.si(value)),
        lambda: (echo.s(1) | echo.si(value)).delay(),
        lambda: echo.delay_many([(1,), (value,)]),
        lambda: echo.apply((value,)),
    ):
        with pytest.raises(EncodeError):
            call()
    with pytest.raises(EncodeError, match=r"'value' of echo (is|contains) a dict with the keys '__type__' and"):
        echo.delay(value)


@pytest.mark.parametrize("value", HOLDERS)
def test_plain_data_with_another_meaning_is_refused_as_a_value(
    sent: list[Envelope], worker: Worker, value: Any
) -> None:
    def run(self: Any) -> Any:
        with pytest.raises(EncodeError, match="another meaning in JSON"):
            self.update_state(state="PROGRESS", meta=value)
        return value

    task(bind=True, name="returns")(run).delay()
    outcome = worker.run()
    assert (outcome.state, worker.reports) == (states.FAILURE, [])
    error = values.decode_exception(outcome.result)
    assert isinstance(error, EncodeError)
    assert "another meaning in JSON: rename a key" in str(error)


@pytest.mark.parametrize("value", HOLDERS)
def test_plain_data_with_another_meaning_is_shown_as_argument_of_an_exception(value: Any) -> None:
    error = values.decode_exception(values.encode_exception(ValueError("no", value)))
    assert error.args == ("no", repr(value))


def test_plain_data_with_another_meaning_is_refused_as_a_header_or_a_stamp(sent: list[Envelope], echo: Any) -> None:
    with pytest.raises(EncodeError, match=r"header 'tenant' can't be sent: .*another meaning"):
        echo.apply_async(headers={"tenant": MARKED})
    with pytest.raises(EncodeError, match=r"stamp 'tenant' can't be sent: .*another meaning"):
        echo.apply_async(stamped_headers=["tenant"], tenant=[MARKED])
    assert not sent


@pytest.mark.parametrize("value", ALLOWED)
def test_other_data_with_these_texts_arrives(sent: list[Envelope], worker: Worker, echo: Any, value: Any) -> None:
    echo.apply_async((value,), headers={"x": value})
    outcome = worker.run()
    assert outcome.state == states.SUCCESS
    assert values.decode(outcome.result) == value
    assert values.decode_exception(values.encode_exception(ValueError(value))).args == (value,)


class Hook:
    def __init__(self, value: Any) -> None:
        self.value = value

    def __json__(self) -> Any:
        return self.value


def test_object_that_writes_another_type_is_taken_if_it_can_be_read(sent: list[Envelope], echo: Any) -> None:
    assert values.decode(values.encode(Hook(MARKED))[0]) == date(2040, 1, 1)
    with pytest.raises(EncodeError):
        values.encode(Hook(UNREADABLE))
    with pytest.raises(EncodeError):
        echo.delay(Hook(UNREADABLE))


def test_list_that_holds_itself_is_compared_once() -> None:
    value: list[Any] = [{"a": 1}]
    value.append(value)
    assert not is_marked(value)
    value.append(MARKED)
    assert is_marked(value)


@pytest.mark.parametrize("serializer", ["msgpack", "yaml"])
def test_values_that_a_serializer_can_not_read_again_are_refused(
    sent: list[Envelope], worker: Worker, echo: Any, serializer: str
) -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    odd_zone = datetime(2040, 1, 1, tzinfo=timezone(timedelta(hours=1, seconds=15)))
    wrong = {"msgpack": [{1: "a"}, {"a": [{(1, 2): 3}]}], "yaml": [odd_zone, cycle]}
    for value in wrong[serializer]:
        with pytest.raises(EncodeError, match=f"argument 'value' of echo|as {serializer}"):
            echo.apply_async((value,), serializer=serializer)
        with pytest.raises(EncodeError, match=f"{serializer} (can't|would)"):
            values.encode(value, serializer)
    echo.apply_async((MARKED,), serializer=serializer)
    assert worker.delivery().content_type.endswith(serializer)


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False), st.text(), st.binary(),
    st.dates(), st.datetimes(), st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-3))])),
    st.times(), st.decimals(allow_nan=False), st.uuids(), st.sampled_from(["__type__", "__value__", "date", "bytes"]),
)  # fmt: skip
KEYS = st.one_of(st.text(), st.sampled_from(["__type__", "__value__"]))
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8)


@pytest.mark.parametrize("serializer", ["json", "msgpack", "yaml", "pickle"])
@given(value=VALUES)
def test_a_value_is_read_as_it_was_stored_or_refused(serializer: str, value: Any) -> None:
    try:
        text, content_type = values.encode(value, serializer)
    except EncodeError:
        return
    with override_settings(TASKQ_RESULT_SERIALIZER=serializer):
        assert values.decode(text, content_type) == value


def test_values_of_kombus_types_still_arrive(sent: list[Envelope], worker: Worker, echo: Any) -> None:
    given = [datetime(2040, 1, 1, tzinfo=UTC), date(2040, 1, 1), time(3), Decimal("1.5"), UUID(int=7), b"\xff", b"a"]
    echo.delay(given)
    assert values.decode(worker.run().result) == given


@pytest.mark.parametrize("text", [json.dumps(UNREADABLE), '{"__type__": "decimal", "__value__": "x"}'])
def test_a_stored_value_that_can_not_be_read_is_a_decode_error(text: str) -> None:
    with pytest.raises(DecodeError):
        values.decode(text)
    data = f'{{"exc_type": "ValueError", "exc_message": [{text}], "exc_module": "builtins"}}'
    assert data in str(values.decode_exception(data))


def test_a_deeply_nested_value_can_be_read_from_a_deep_stack() -> None:
    value: Any = 1
    for _ in range(700):
        value = [value]
    text, _ = values.encode(value)

    def deeper(frames: int) -> Any:
        return values.decode(text) if not frames else deeper(frames - 1)

    assert values.encode(deeper(400))[0] == text
