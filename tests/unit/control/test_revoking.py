"""What a revoke means: stamps, patterns, and the signal with its grace."""

from __future__ import annotations

import json
from typing import Any

import pytest

from taskq.control import revoking, stamps


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"a": "1"}, {"a": {"1"}}),
        ({"a": ["1", 2]}, {"a": {"1", "2"}}),
        ({"a": None}, {"a": set()}),
        (["a=1", "b=x=y", "a=2", "nothing"], {"a": {"1", "2"}, "b": {"x=y"}}),
    ],
)
def test_stamps_of_a_command(given: Any, expected: Any) -> None:
    assert stamps.wanted(given) == expected


def test_headers_of_a_list_are_shown_by_key() -> None:
    assert stamps.by_key(["a=1", "b=x=y", "a=2", "nothing", 5]) == {"a": ["1", "2"], "b": "x=y"}
    assert stamps.by_key({"a": ["1"]}) == {"a": ["1"]}


@pytest.mark.parametrize("given", [None, {}, [], "a=1", 5, ["nothing"]])
def test_no_stamps_are_an_error(given: Any) -> None:
    with pytest.raises(ValueError, match="key=value"):
        stamps.wanted(given)


@pytest.mark.parametrize(
    ("headers", "meant"),
    [
        ({"stamps": {"a": ["1"]}}, True),
        ({"stamps": {"a": "1", "b": ["2"]}}, True),
        ({"stamps": {"a": [1]}}, True),
        ({"stamps": {"a": ["2"]}}, False),
        ({"stamps": {"a": {"b": 1}}}, False),
        ({"stamps": None}, False),
        ({"stamps": ["a"]}, False),
        ({}, False),
    ],
)
def test_stamps_of_a_message(headers: Any, meant: bool) -> None:
    wanted = stamps.wanted({"a": "1"})
    assert stamps.match(headers, wanted) is meant
    assert stamps.match_text(json.dumps(headers), wanted) is meant


@pytest.mark.parametrize("text", ["", "[]", "nothing", "[" * 100_000])
def test_headers_that_can_not_be_read_match_nothing(text: str) -> None:
    assert not stamps.match_text(text, stamps.wanted({"a": "1"}))


@pytest.mark.parametrize(
    ("terminate", "signal", "grace", "text"),
    [
        (False, "SIGKILL", 5, ""),
        (True, None, None, "SIGTERM"),
        (True, "kill", None, "SIGKILL"),
        (True, 15, None, "SIGTERM"),
        (True, "TERM+5", None, "SIGTERM+5"),
        (True, "SIGTERM+5", 2.5, "SIGTERM+2.5"),
        (True, "SIGVTALRM", 3599.99, "SIGVTALRM+3600"),
        (True, "SIGTERM+5", 0, "SIGTERM"),
    ],
)
def test_the_signal_fits_into_its_column(terminate: bool, signal: Any, grace: float | None, text: str) -> None:
    assert revoking.signal_text(terminate, signal, grace) == text
    assert len(text) <= 16


@pytest.mark.parametrize(
    ("signal", "grace"),
    [("SIGNOTHING", None), (999, None), ("TERM+x", None), ("TERM", -1), ("TERM", 1e9), ({"a": 1}, None)],
)
def test_a_signal_or_a_time_that_does_not_exist_is_an_error(signal: Any, grace: float | None) -> None:
    with pytest.raises(ValueError, match=r"signal|float|grace"):
        revoking.signal_text(True, signal, grace)
