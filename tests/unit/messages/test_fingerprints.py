"""Which failures are alike, and what lists show of them."""

from __future__ import annotations

import json

import pytest

from taskq.exceptions import WorkerLostError
from taskq.messages.exception_data import encode_exception
from taskq.messages.fingerprints import LONGEST_MESSAGE, ErrorSummary, fingerprint, normalized, summary


@pytest.mark.parametrize(
    ("message", "pattern"),
    [
        ("no order 17", "no order *"),
        ("no order 0190f3a2-7b1c-7c3d-8e4f-112233445566!", "no order *!"),
        ("at 0x7f3a2b10, sha 9f86d081884c7d65", "at *, sha *"),
        ("user 'ann' can't pay \"3 EUR\" for `x`", "user * can't pay * for *"),
        ("took 3.25 s at 12:30:01, 1,000 times", "took * s at *, * times"),
        ("deadbeef facade", "deadbeef facade"),
        ("two\n  lines\tand more ", "two lines and more"),
        ("it's 'one'", "it's *"),
        ("", ""),
    ],
)
def test_what_differs_from_failure_to_failure_is_masked(message: str, pattern: str) -> None:
    assert normalized(message) == pattern


def test_task_class_and_message_tell_failures_apart() -> None:
    one = ErrorSummary("KeyError", "no 1")
    keys = [
        fingerprint("a", one),
        fingerprint("b", one),
        fingerprint("a", ErrorSummary("ValueError", "no 1")),
        fingerprint("a", ErrorSummary("KeyError", "not 1")),
    ]
    assert len(set(keys)) == 4
    assert fingerprint("a", ErrorSummary("KeyError", "no 2")) == keys[0]
    assert {len(key) for key in keys} == {16}


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("bad", 3, None), ErrorSummary("ValueError", "bad, 3, null")),
        (
            json.JSONDecodeError("no", "x", 0),
            ErrorSummary("json.decoder.JSONDecodeError", "no: line 1 column 1 (char 0)"),
        ),
        (WorkerLostError("killed"), ErrorSummary("taskq.exceptions.WorkerLostError", "killed")),
        (RuntimeError(), ErrorSummary("RuntimeError", "")),
    ],
)
def test_exceptions_have_a_summary(error: Exception, expected: ErrorSummary) -> None:
    assert summary(encode_exception(error)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, ErrorSummary("", "null")),
        ("3", ErrorSummary("", "3")),
        ("no JSON", ErrorSummary("", "no JSON")),
        ('{"exc_type": "E", "exc_message": "old", "exc_module": null}', ErrorSummary("E", "old")),
        ('{"exc_type": "E\\u0000", "exc_message": ["\\ud800 \\u0000"]}', ErrorSummary("E\\0", "\\ud800 \\0")),
        ("[" * 100_000, ErrorSummary("", "[" * LONGEST_MESSAGE)),
    ],
)
def test_any_text_has_a_summary(text: str | None, expected: ErrorSummary) -> None:
    assert summary(text) == (expected if text is not None else ErrorSummary("", ""))


def test_long_and_hostile_messages_are_cut_and_take_no_time() -> None:
    found = summary(json.dumps({"exc_type": "E" * 1000, "exc_message": ["\ud800" * 600], "exc_module": "m"}))
    assert len(found.exception) == 255
    assert len(found.message) == LONGEST_MESSAGE
    # Quadratic in this text, the pattern would take minutes.
    normalized("'\"`0x" * 200_000)
