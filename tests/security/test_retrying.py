"""A retry runs what was sent, or nothing: not asterisks, not altered arguments, nor what only resembles them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import override_settings

from taskq import control, task
from taskq.calls.registry import tasks
from taskq.engines import for_alias
from taskq.exceptions import CannotRetry, QueueNotFound
from taskq.messages.protocol import verify
from taskq.models import Message, TaskRun
from taskq.records import Settlement
from taskq.sending.send import send_task
from taskq.store.masking import mask_arguments

pytestmark = pytest.mark.django_db


@pytest.fixture
def login() -> Iterator[Any]:
    """A task with a sensitive argument."""

    @task(name="tests.login", sensitive=("password",))
    def login(name: str, password: str = "") -> None:
        pass

    yield login
    tasks.remove("tests.login")


def failed(name: str, args: Any = (), **options: Any) -> str:
    """Send a task, and write that it has failed."""
    task_id = send_task(name, args, **options).id
    Message.objects.all().delete()
    TaskRun.objects.filter(task_id=task_id).update(state="FAILURE")
    return task_id


def reason(task_id: str, **changes: Any) -> str:
    with pytest.raises(CannotRetry) as error:
        control.retry(task_id, **changes)
    assert not Message.objects.exists()
    return error.value.reason


def test_masked_arguments_are_never_sent_also_where_the_task_is_unknown(login: Any) -> None:
    task_id = failed("tests.login", ["ann", "s3cret"])
    assert reason(task_id) == "masked"
    tasks.remove("tests.login")
    assert reason(task_id) == reason(task_id, kwargs={}) == "masked"
    control.retry(task_id, args=["ann", "n3w"])
    assert "n3w" in Message.objects.get().body


def test_new_arguments_of_a_task_with_sensitive_ones_are_masked_in_its_row(login: Any) -> None:
    task_id = failed("tests.login", ["ann", "s3cret"])
    control.retry(task_id, args=["ann", "n3w"])
    run, message = TaskRun.objects.get(), Message.objects.get()
    assert "n3w" in message.body
    assert "n3w" not in f"{run.arguments} {message.headers}"
    assert "********" in (run.arguments or "")


@pytest.fixture
def plain() -> Iterator[Any]:
    """A task without sensitive arguments."""

    @task(name="tests.plain")
    def plain(*args: Any) -> None:
        pass

    yield plain
    tasks.remove("tests.plain")


@pytest.mark.usefixtures("login")
def test_asterisks_that_somebody_sent_are_no_mask(plain: Any) -> None:
    control.retry(failed("tests.plain", ["********", {"a": ["********"]}]))
    assert json.loads(Message.objects.get().body)[0] == ["********", {"a": ["********"]}]


@pytest.mark.usefixtures("login", "plain")
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("tests.login", '[["ann", "********"], {}]'),
        ("tests.login", '[[], {"name": "ann", "password": "********"}]'),
        ("shop.unknown", '[["ann", "********"], {}]'),
        ("tests.plain", '[[{"task": "tests.login", "args": ["ann", "********"]}], {}]'),
        ("tests.plain", '[[], {"a": [{"task": "shop.unknown", "kwargs": {"b": ["********"]}}]}]'),
    ],
)
def test_asterisks_of_older_versions_which_wrote_no_notes_may_be_a_mask(name: str, arguments: str) -> None:
    task_id = failed(name, ["ann"])
    TaskRun.objects.update(arguments=arguments)
    assert reason(task_id) == "masked"


def test_row_of_an_older_version_does_not_say_that_it_was_sent_by_pickle(
    plain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = failed("tests.plain", [1])
    monkeypatch.setattr(tasks.get("tests.plain"), "serializer", "pickle")
    assert reason(task_id) == "unreadable"


@override_settings(TASKQ_SIGNING=True)
def test_masked_by_a_worker_the_row_has_a_seal_if_it_had_one(login: Any) -> None:
    tasks.remove("tests.login")
    sealed, altered = failed("tests.login", ["ann", "s3cret"]), failed("tests.login", ["ann", "s3cret"])
    TaskRun.objects.filter(task_id=altered).update(arguments='[["eve", "s3cret"], {}]')
    tasks.add(login)
    ends = [Settlement(0, task_id, "tests.login", "FAILURE") for task_id in (sealed, altered)]
    mask_arguments(for_alias("default"), ends)
    assert "s3cret" not in str(TaskRun.objects.values_list("arguments"))
    assert (reason(sealed), reason(altered)) == ("masked", "altered")
    with pytest.raises(CannotRetry, match="have no seal"):
        control.retry(altered)


def test_one_row_that_cant_be_sent_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [failed("shop.add", [text]) for text in ("a", "b" * 5000, "c")]
    with override_settings(TASKQ_MAX_MESSAGE_SIZE=4000):
        counts = control.retry_many(ids, queue="slow", countdown=5)
    assert (counts.done, counts.refused) == (2, {"refused": 1})
    assert "can't be sent again" in counts.examples["refused"]


@pytest.mark.parametrize("wrong", [{"eta": "tomorrow"}, {"countdown": "x"}, {"queue": ""}, {"queue": "undeclared"}])
def test_wrong_changes_are_the_callers_error_before_anything_is_done(wrong: Any) -> None:
    task_id = failed("shop.add", [1])
    with (
        override_settings(TASKQ_CREATE_MISSING_QUEUES=False),
        pytest.raises((TypeError, ValueError, QueueNotFound)),
    ):
        control.retry_many([task_id], **wrong)
    assert TaskRun.objects.get().state == "FAILURE"


def test_arguments_that_were_not_kept_or_are_unreadable() -> None:
    task_id = failed("shop.add", [1])
    for text, word in ((None, "unkept"), ("[[1", "unreadable"), ("{}", "unreadable"), ("[1, 2]", "unreadable")):
        TaskRun.objects.update(arguments=text)
        assert reason(task_id) == word
    TaskRun.objects.update(name="")
    assert reason(task_id, args=[1], kwargs={}) == "unreadable"


@override_settings(TASKQ_ACCEPT_CONTENT=["json", "pickle"])
def test_pickle_is_sent_again_as_pickle_if_the_row_holds_its_arguments_exactly() -> None:
    exact, loose = failed("shop.add", [1, "x"], serializer="pickle"), failed("shop.add", [(1, 2)], serializer="pickle")
    assert reason(loose) == "unreadable"
    with override_settings(TASKQ_ACCEPT_CONTENT=["json"]):
        assert reason(exact) == "unreadable"
    control.retry(exact)
    assert Message.objects.get().content_type == "application/x-python-serialize"


@override_settings(TASKQ_SIGNING=True)
def test_signed_retry_runs_and_altered_arguments_do_not() -> None:
    task_id, other = failed("shop.add", [1, 2]), failed("shop.add", [3, 4])
    text = TaskRun.objects.get(task_id=task_id).arguments or ""
    for altered in (text.replace("[1, 2]", "[9, 2]"), "[[1, 2], {}]", TaskRun.objects.get(task_id=other).arguments):
        TaskRun.objects.filter(task_id=task_id).update(arguments=altered)
        assert reason(task_id) == "altered"
    TaskRun.objects.filter(task_id=task_id).update(arguments=text, name="shop.other")
    assert reason(task_id) == "altered"
    TaskRun.objects.filter(task_id=task_id).update(name="shop.add")
    control.retry(task_id)
    verify(Message.objects.get())
    assert TaskRun.objects.get(task_id=task_id).arguments == text


@override_settings(TASKQ_SIGNING=True)
def test_moved_messages_are_sealed_anew_and_forged_ones_stay() -> None:
    ids = [send_task("shop.add", [n]).id for n in range(2)]
    Message.objects.filter(task_id=ids[1]).update(body="[[9], {}, {}]")
    assert control.move(ids, "slow").done == 1
    assert control.prioritize(ids, 8).done == 1
    moved = Message.objects.get(task_id=ids[0])
    verify(moved)
    assert (moved.queue, moved.priority, json.loads(moved.properties)["priority"]) == ("slow", 8, 8)
    assert Message.objects.get(task_id=ids[1]).queue == "taskq"
