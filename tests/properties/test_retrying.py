"""A retry's message holds the arguments of the first message, byte for byte, whatever they were."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq.calls.again import Changes, envelope_again
from taskq.exceptions import CannotRetry
from taskq.messages import arguments, serializers
from taskq.messages.protocol import build

ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.uuids() | st.dates()
    | st.datetimes(timezones=ZONES) | st.decimals(allow_nan=False) | st.binary()
)  # fmt: skip
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12)


@dataclass
class Row:
    """The columns of a run that a retry reads."""

    arguments: str | None
    task_id: str = "t"
    name: str = "shop.add"
    queue: str = "taskq"
    priority: int = 0
    root_id: str = "t"
    parent_id: str = ""


@given(st.lists(VALUES), st.dictionaries(st.text(), VALUES))
def test_body_of_a_retry_is_that_of_the_first_message(args: list[Any], kwargs: dict[str, Any]) -> None:
    first = build(name="shop.add", queue="taskq", args=args, kwargs=kwargs)
    again = envelope_again(Row(first.arguments))
    assert (again.body, again.arguments, again.content_type) == (first.body, first.arguments, first.content_type)
    for name in ("argsrepr", "kwargsrepr"):
        assert bool(again.headers[name]) == bool(first.headers[name])


@given(st.lists(VALUES | st.tuples(VALUES)), st.dictionaries(st.text(), VALUES))
def test_retry_by_another_serializer_holds_the_same_values_or_is_refused(args: list[Any], kwargs: Any) -> None:
    text = arguments.to_text(args, kwargs, "pickle")
    if text is None:
        return
    stored = arguments.from_text(text)
    assert stored.serializer == "pickle"
    if stored.exact:
        assert [stored.args, stored.kwargs] == [args, kwargs]
    else:
        with pytest.raises(CannotRetry):
            envelope_again(Row(text))


@given(st.lists(VALUES), st.dictionaries(st.text(), VALUES))
def test_masked_arguments_are_sent_only_if_there_are_none(args: list[Any], kwargs: dict[str, Any]) -> None:
    row = Row(arguments.to_text(args, kwargs, masked=True))
    if args or kwargs:
        with pytest.raises(CannotRetry):
            envelope_again(row)
    new = envelope_again(row, Changes(args=[1], kwargs={}))
    assert serializers.decode(new.body, new.content_type)[:2] == [[1], {}]


def test_some_values_that_other_queues_lose() -> None:
    args = [2**63, datetime(2024, 2, 29, tzinfo=UTC), date(2024, 2, 29), Decimal("1.10"), 1e300, -0.0]
    first = build(name="shop.add", queue="taskq", args=args)
    assert envelope_again(Row(first.arguments)).body == first.body
