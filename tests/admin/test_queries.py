"""The pure parts of ``taskq_admin.queries``, and that every query goes to ``TASKQ_DATABASE``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from html import unescape
from typing import Any

import pytest
from django.test import override_settings

from taskq.models import Attempt, TaskRun, Worker
from taskq_admin import folds
from taskq_admin.queries import (
    activity,
    again,
    durations,
    payloads,
    queues,
    runs,
    tabs,
    throughput,
    timeline,
    workers,
)

from .conftest import START


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (None, ""),
        (0, "0 s"),
        (0.00000966, "9.66 µs"),
        (0.00099949, "999 µs"),
        (0.0009996, "1 ms"),
        (0.0042, "4.2 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1 s"),
        (1.254, "1.25 s"),
        (59.9, "59.9 s"),
        (60, "1 min"),
        (185, "3 min 5 s"),
        (3600 * 5 + 61, "5 h 1 min"),
        (86400 * 400, "400 d"),
        (-2, "-2 s"),
        (float(10**9), "11574 d 1 h"),
    ],
)
def test_durations_are_shown_with_a_unit(seconds: float | None, expected: str) -> None:
    assert durations.words(seconds) == expected


def test_duration_between_times_that_can_not_be_compared_is_none() -> None:
    assert durations.between(START, START + timedelta(seconds=2)) == 2
    assert durations.between(None, START) is None
    assert durations.between(START, datetime(2026, 1, 1)) is None


def test_stored_arguments_are_split_into_args_and_kwargs() -> None:
    args, kwargs = payloads.arguments('[[1, "a"], {"k": null}]')
    assert args is not None
    assert kwargs is not None
    assert json.loads(args.text) == [1, "a"]
    assert json.loads(kwargs.text) == {"k": None}
    assert payloads.arguments("[[], {}]") == (None, None)
    assert payloads.arguments(None) == (None, None)


def test_payload_text_is_shown_without_unicode_escapes() -> None:
    shown = payloads.payload('"gr\\u00fc\\u00dfe"')
    assert shown is not None
    assert shown.text == '"grüße"'


def nested(levels: int) -> Any:
    """Return a value nested in lists and objects by turns; its strings and keys look like brackets and tags."""
    value: Any = {"[": "x [", "]}": '"] {', "<&'": [], "{": [[{}], "["]}
    for level in range(levels):
        value = [level, value, "]"] if level % 2 else {"{": value, "next": ["["], "</details>": {"[": 1}}
    return value


def indentation(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


@pytest.mark.parametrize("levels", [1, 6, 7, 30])
def test_folded_json_is_the_text_itself_wherever_it_is_cut(levels: int) -> None:
    value = [nested(levels)] * 6
    shown = payloads.payload(json.dumps(value))
    assert shown is not None
    assert json.loads(shown.text) == value
    for end in [*range(0, len(shown.text), 1 + len(shown.text) // 100), len(shown.text)]:
        html = folds.folded(shown.text[:end])
        assert unescape(re.sub(r"</?(?:details|summary)>", "", html)) == shown.text[:end]
        opened = 0
        for tag in re.findall(r"</?details>", html):
            opened += 1 if tag == "<details>" else -1
            assert opened >= 0
        assert opened == 0


def test_a_fold_holds_what_is_nested_so_deeply_and_nothing_else() -> None:
    value: Any = nested(folds.LEVELS)
    shown = payloads.payload(json.dumps([["before"], *[value] * folds.LINES]))
    assert shown is not None
    lines = json.dumps(value, indent=2, ensure_ascii=False).splitlines()
    deep = [line for line in lines if line.endswith(("[", "{")) and indentation(line) == 2 * folds.LEVELS - 2]
    assert deep
    found = re.findall(r"<details><summary>(.*)\n</summary>((?s:.*?))</details>", shown.html)
    assert [unescape(first)[2:] for first, _ in found] == deep * folds.LINES
    for first, rest in found:
        fold = unescape(first + rest).strip().rstrip(",")
        json.loads("{" + fold + "}" if fold[0] == '"' else fold)


@pytest.mark.parametrize("text", ["[" * 8 + "]" * 8, "x\n" * 99 + " " * 12 + "[\n" + " " * 12 + "]\n"])
def test_short_json_and_other_text_have_no_folds(text: str) -> None:
    for shown in (payloads.payload(text), payloads.payload(text, "text/plain")):
        assert shown is not None
        assert "<details>" not in shown.html


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ({"exc_type": "E", "exc_message": ["a", 1], "exc_module": "shop.errors"}, ("shop.errors.E", "a, 1")),
        ({"exc_type": "E", "exc_message": "old", "exc_module": "builtins"}, ("E", "old")),
        ({"exc_type": "E"}, ("E", "")),
        (
            {"exc_type": "Retry", "exc_message": [None, None, 1], "exc_module": "celery.exceptions"},
            ("taskq.exceptions.Retry", "Retry in 1s"),
        ),
        (
            {"exc_type": "NotRegistered", "exc_message": ["x.y"], "exc_module": "celery.exceptions"},
            ("taskq.exceptions.NotRegistered", "'x.y'"),
        ),
        (
            {"exc_type": "TimeLimitExceeded", "exc_message": [5], "exc_module": "billiard.exceptions"},
            ("taskq.exceptions.TimeLimitExceeded", "5"),
        ),
        (
            {"exc_type": "Retry", "exc_message": [1, 2, 3, 4], "exc_module": "celery.exceptions"},
            ("taskq.exceptions.Retry", "1, 2, 3, 4"),
        ),
        (
            {"exc_type": "SecurityError", "exc_message": ["no"], "exc_module": "celery.exceptions"},
            ("celery.exceptions.SecurityError", "no"),
        ),
    ],
)
def test_stored_exception_is_read_as_type_and_message(stored: dict[str, Any], expected: tuple[str, str]) -> None:
    found = payloads.failure(json.dumps(stored))
    assert found is not None
    assert (found.type, found.message) == expected


@pytest.mark.parametrize(
    ("children", "expected"),
    [
        (["a", "b", "a"], ["a", "b"]),
        ([[["a", None], None]], ["a"]),
        ([[["a", [["p", None], None]], None]], ["a"]),
        ([[["group", None], [[["a", None], None], [["b", None], None]]]], ["a", "b"]),
        ([["a", None]], ["a"]),
        ({"a": 1}, []),
        ([1, None, {}, [], [[]], [[1]]], []),
    ],
)
def test_child_ids_are_found_in_any_form_of_children(children: Any, expected: list[str]) -> None:
    assert payloads.child_ids(json.dumps(children)) == expected


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def test_timeline_of_a_waiting_task_is_one_bar_until_now() -> None:
    run = TaskRun(created_at=START)
    (bar,) = timeline.bars(run, [], at(10))
    assert (bar.kind, bar.x, bar.width) == ("wait", 0, timeline.WIDTH)


def test_timeline_bars_cover_the_whole_and_do_not_overlap() -> None:
    run = TaskRun(state="SUCCESS", created_at=START, started_at=at(6), finished_at=at(10))
    tries = timeline.tries(run, [Attempt(state="RETRY", started_at=at(2), finished_at=at(3))])
    bars = timeline.bars(run, tries, at(99))
    assert [(bar.kind, bar.x, bar.width) for bar in bars] == [
        ("wait", 0, 200),
        ("retry", 200, 100),
        ("wait", 300, 300),
        ("success", 600, 400),
    ]


def test_timeline_of_a_task_waiting_for_its_retry_has_one_try() -> None:
    run = TaskRun(state="RETRY", retries=1, created_at=START, started_at=at(2))
    assert len(timeline.tries(run, [Attempt(state="RETRY", started_at=at(2.1), finished_at=at(3))])) == 1


def test_timeline_moments_are_in_order() -> None:
    run = TaskRun(state="FAILURE", created_at=START, eta=at(5), started_at=at(6), finished_at=at(7))
    moments = timeline.moments(run, timeline.tries(run, []))
    assert [str(moment.label) for moment in moments] == ["Created", "Due", "Started", "Failure"]
    assert [moment.since for moment in moments] == [None, 5, 1, 1]


def test_timeline_begins_with_the_creation_though_clocks_differ() -> None:
    run = TaskRun(state="FAILURE", created_at=START, eta=at(-60), finished_at=at(-0.001))
    moments = timeline.moments(run, timeline.tries(run, []))
    assert [str(moment.label) for moment in moments] == ["Created", "Due", "Failure"]
    assert [moment.since for moment in moments] == [None, None, pytest.approx(59.999)]


class Asked(Exception):
    """A query named the alias that no database has."""


@pytest.mark.parametrize(
    "ask",
    [
        lambda: list(runs.listed()),
        lambda: runs.find(1),
        lambda: runs.pk_of("x"),
        lambda: runs.attempts("x"),
        lambda: runs.states_of(["x"]),
        lambda: again.texts("x"),
        lambda: again.refusal(TaskRun(pk=1)),
        lambda: runs.past(TaskRun(task_id="x", parent_id="y", pk=1, created_at=START)),
        tabs.tab_counts,
        lambda: list(workers.listed()),
        lambda: workers.held("x", activity.Activity()),
        lambda: workers._runs({"x"}),
        queues.overview,
        queues.unread,
        lambda: throughput.read(throughput.SPANS),
        lambda: throughput.read((), ["mails"]),
        lambda: list(workers.with_retention(workers.listed())),
        queues.around,
    ],
)
def test_every_query_goes_to_the_database_of_the_setting(
    ask: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from django.db import connections

    known = type(connections).__getitem__

    def refuse(self: Any, alias: str) -> Any:
        if alias == "default":  # Django asks for its features; pytest-django refuses a query on it
            return known(self, alias)
        raise Asked(alias)

    monkeypatch.setattr(type(connections), "__getitem__", refuse)
    with override_settings(TASKQ_DATABASE="elsewhere"), pytest.raises(Asked, match="elsewhere"):
        ask()


def test_worker_info_has_queues_concurrency_and_pool() -> None:
    info = workers.info(Worker(info=json.dumps({"queues": ["a"], "concurrency": 2, "pool": "threads"})))
    assert (info.queues, info.concurrency, info.pool) == (("a",), "2", "threads")
