"""``reprs``: short, quick, and never raising."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq.messages import reprs


class Unspeakable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


class Counted:
    shown = 0

    def __repr__(self) -> str:
        Counted.shown += 1
        return "x" * 100


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=5), inner, max_size=4)
        | st.frozensets(st.integers(), max_size=3)
        | st.sets(st.integers(), max_size=3)
    ),
    max_leaves=20,
)


@given(values)
def test_short_repr_is_the_repr_or_cut_at_the_limit(value: Any) -> None:
    whole = repr(value)
    short = reprs.short_repr(value)
    if len(whole) <= reprs.LIMIT:
        assert short == whole
    else:
        assert len(short) == reprs.LIMIT
        assert short.endswith("...")


@given(values, st.integers(10, 60))
def test_cut_short_repr_is_the_beginning_of_the_repr(value: Any, limit: int) -> None:
    whole, short = repr(value), reprs.short_repr(value, limit)
    assert len(short) <= limit
    assert short == whole or (short.endswith("...") and whole.startswith(short[:-3]))


@pytest.mark.parametrize("value", [(), (1,), [], (2, 2), ("a", None, 1.5), [1, "x" * 500]], ids=repr)
def test_args_repr_is_the_repr(value: Any) -> None:
    assert reprs.args_repr(value) == repr(value)


def test_reprs_of_large_arguments_do_not_read_them_whole() -> None:
    Counted.shown = 0
    assert len(reprs.args_repr((["x" * 10_000_000], [Counted()] * 100_000))) == reprs.LIMIT
    assert len(reprs.args_repr(([Counted()] * 100_000,))) == reprs.LIMIT
    assert Counted.shown < 20
    assert len(reprs.kwargs_repr({"data": dict.fromkeys(range(100_000))})) == reprs.LIMIT


def test_argument_whose_repr_raises_has_a_stand_in() -> None:
    text = "<Unspeakable whose repr raised RuntimeError>"
    assert reprs.args_repr((1, Unspeakable())) == f"(1, {text})"
    assert reprs.kwargs_repr({"a": [Unspeakable()]}) == f"{{'a': [{text}]}}"


def test_huge_numbers_and_circular_lists_are_shown() -> None:
    circle: list[Any] = []
    circle.append(circle)
    assert len(reprs.args_repr((10**10_000,))) < 100
    assert len(reprs.args_repr((circle,))) <= reprs.LIMIT
