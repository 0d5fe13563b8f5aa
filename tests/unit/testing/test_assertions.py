from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from unittest.mock import ANY

import pytest
import time_machine

from taskq.testing import Memory, SentTask, assert_not_sent, assert_sent, drain, override, sent
from taskq.testing.message import SentTasks

from . import tasks

pytestmark = pytest.mark.usefixtures("taskq_memory")


def test_assert_sent_returns_the_matching_messages() -> None:
    tasks.add.apply_async((2, 2), queue="lopri", priority=3)
    (message,) = assert_sent(tasks.add, (2, 2), {}, queue="lopri", priority=3, count=1)
    assert isinstance(message, SentTask)
    assert (message.name, message.args, message.kwargs) == (tasks.add.name, [2, 2], {})
    assert (message.queue, message.priority, message.eta, message.expires) == ("lopri", 3, None, None)
    assert message.headers["task"] == tasks.add.name
    assert message.result.id == message.id
    assert_sent(tasks.add.name, task_id=message.id)


@pytest.mark.parametrize(
    "wrong",
    [
        {"args": (2, 3)},
        {"kwargs": {"x": 1}},
        {"queue": "other"},
        {"priority": 9},
        {"task_id": "other"},
        {"count": 2},
        {"countdown": 60},
        {"eta": datetime(2020, 1, 1, tzinfo=UTC)},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_assert_sent_lists_the_messages_when_none_matches(wrong: dict[str, object]) -> None:
    tasks.add.delay(2, 2)
    with pytest.raises(AssertionError, match=r"Sent were:\n  tests\.unit\.testing\.tasks\.add\(2, 2\) to taskq"):
        assert_sent(tasks.add, **wrong)  # type: ignore[arg-type]
    if "count" not in wrong:
        assert_not_sent(tasks.add, **wrong)  # type: ignore[arg-type]


def test_assertions_when_nothing_was_sent() -> None:
    assert_not_sent()
    with pytest.raises(AssertionError, match="Nothing was sent"):
        assert_sent(tasks.add)
    assert_sent(tasks.add, count=0)


def test_assert_not_sent_fails_only_for_tasks_that_were_sent() -> None:
    tasks.add.delay(2, 2)
    assert_not_sent(tasks.fail)
    with pytest.raises(AssertionError, match="should not have been"):
        assert_not_sent()


def test_assert_sent_matches_tuples_as_lists_and_any() -> None:
    tasks.note.delay((1, (2,)), key={"a": (3,)}, other=4)
    assert_sent(tasks.note, [(1, (2,))], {"key": {"a": (3,)}, "other": ANY})
    assert_sent(tasks.note, [ANY])


def test_assert_sent_matches_dictionary_keys_as_text() -> None:
    keys = {2: 2, 1.5: "a", True: "b", None: [{3: 4}]}
    tasks.note.delay(keys, key={5: (6,)})
    assert_sent(tasks.note, [keys], {"key": {5: (6,)}})
    assert_not_sent(tasks.note, [{7: 2}])


def test_assert_sent_matches_keys_as_they_are_with_pickle(settings: Any) -> None:
    settings.TASKQ_ACCEPT_CONTENT = ["json", "pickle"]
    tasks.note.apply_async(({1: 2},), serializer="pickle")
    assert_sent(tasks.note, [{1: 2}])


def test_assert_sent_matches_countdown_and_eta(settings: Any) -> None:
    settings.TASKQ_TIMEZONE = "UTC"
    with time_machine.travel(datetime(2026, 1, 1, tzinfo=UTC)):
        tasks.note.apply_async(countdown=60)
        assert_sent(tasks.note, countdown=60)
        assert_sent(tasks.note, eta=datetime(2026, 1, 1, 0, 1, tzinfo=UTC))
        assert_sent(tasks.note, eta=datetime(2026, 1, 1, 0, 1))  # naive: in TASKQ_TIMEZONE
        assert "due at 2026-01-01 00:01:00" in repr(sent()[0])


def test_sent_list_grows_with_each_message(taskq_sent: SentTasks) -> None:
    assert len(taskq_sent) == 0
    tasks.add.delay(1, 1)
    tasks.add.delay(2, 2)
    assert [message.args for message in taskq_sent] == [[1, 1], [2, 2]]
    assert taskq_sent[-1].args == [2, 2]
    assert len(taskq_sent[:1]) == 1
    assert len(sent()) == 2


def test_fixtures_share_one_memory(taskq_memory: Memory, taskq_sent: SentTasks) -> None:
    tasks.add.delay(1, 1)
    assert len(taskq_sent) == len(taskq_memory.sent) == 1
    assert len(drain()) == 1


def test_assertions_look_at_the_innermost_override() -> None:
    tasks.add.delay(1, 1)
    with override("memory"):
        assert_not_sent()
        tasks.add.delay(2, 2)
        assert_sent(tasks.add, count=1)
    assert_sent(tasks.add, (1, 1), count=1)
