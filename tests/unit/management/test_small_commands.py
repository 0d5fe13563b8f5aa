"""``taskcall``, ``taskresult``, ``taskpurge`` and ``taskreport``, in this process."""

from __future__ import annotations

import builtins
import json
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from django.db import OperationalError, connections
from django.test import override_settings

import taskq
from taskq import control, send_task
from taskq.models import Message, QueuePause, ScheduledMessage, TaskRun
from testproject.arithmetic.tasks import add
from tests.support.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def run(*words: str) -> tuple[str, str]:
    """Run a command and return what it printed to each stream."""
    out, err = StringIO(), StringIO()
    call_command(*words, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def away(*args: object, **kwargs: object) -> None:
    raise OperationalError("connection refused")


def ended(**fields: Any) -> str:
    """Send a task and write its end; return its id."""
    sent = add.delay(2, 2)
    TaskRun.objects.filter(task_id=sent.id).update(**fields)
    return sent.id


class TestTaskcall:
    def test_task_is_sent_with_its_arguments_and_its_id_is_printed(self) -> None:
        out, err = run("taskcall", add.name, "-a", "[2]", "-k", '{"y": 3}', "--queue", "hipri", "--priority", "7")
        message = Message.objects.get()
        assert (out, err) == (f"{message.task_id}\n", "")
        assert (message.queue, message.priority) == ("hipri", 7)
        assert json.loads(message.body)[:2] == [[2], {"y": 3}]

    def test_task_that_is_not_registered_here_is_sent_with_a_note(self) -> None:
        out, err = run("taskcall", "elsewhere.send", "--expires", "60")
        assert out == f"{Message.objects.get().task_id}\n"
        assert err == "There is no task elsewhere.send here: only a worker that knows it can run it.\n"

    @pytest.mark.parametrize("options", [["--countdown", "3600"], ["--eta", "2100-01-01T00:00:00"]])
    def test_task_that_is_due_later_is_scheduled(self, options: list[str]) -> None:
        run("taskcall", add.name, "-a", "[2, 2]", *options)
        assert ScheduledMessage.objects.count() == 1

    def test_exchange_routing_key_and_serializer_reach_the_message(self) -> None:
        run("taskcall", add.name, "--exchange", "media", "--routing-key", "media", "--serializer", "yaml")
        message = Message.objects.get()
        assert (message.exchange, message.routing_key) == ("media", "media")
        assert message.content_type == "application/x-yaml"

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            (["-a", "2"], "-a/--args: '2' is not a list in JSON"),
            (["-a", "[2"], "is not JSON"),
            (["-a", "[" * 100_000], "is not JSON"),
            (["-k", "[2]"], "is not an object in JSON"),
            (["--eta", "tomorrow"], "eta"),
            (["--expires", "tomorrow"], "expires"),
            (["--countdown", "nan"], "countdown"),
            (["--priority", "11"], "priority"),
            (["--serializer", "nothing"], "nothing"),
        ],
        ids=lambda value: " ".join(value)[:20] if isinstance(value, list) else "",
    )
    def test_wrong_option_is_named(self, options: list[str], said: str) -> None:
        with pytest.raises(CommandError, match=said):
            run("taskcall", add.name, *options)
        assert not Message.objects.exists()

    def test_database_that_is_away_is_an_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("taskq.management.commands.taskcall.send_task", away)
        with pytest.raises(CommandError, match="does not answer: connection refused"):
            run("taskcall", add.name)


class TestTaskresult:
    def test_value_is_printed(self) -> None:
        id = ended(state="SUCCESS", result="4")
        assert run("taskresult", id) == ("4\n", "")
        assert run("taskresult", id, "-t", add.name) == ("4\n", "")

    def test_value_can_not_act_on_the_terminal(self) -> None:
        assert run("taskresult", ended(state="SUCCESS", result='"a\\u001b[2Jb\\nc"')) == ("a\\x1b[2Jb\nc\n", "")

    def test_exception_is_an_error(self) -> None:
        id = ended(
            state="FAILURE",
            result='{"exc_type": "ValueError", "exc_message": ["too large"], "exc_module": "builtins"}',
            traceback="Traceback (most recent call last):\nValueError: too large",
        )
        with pytest.raises(CommandError, match=r"^FAILURE: ValueError: too large$"):
            run("taskresult", id)
        assert run("taskresult", id, "--traceback")[0].endswith("\nValueError: too large\n")

    def test_task_that_has_not_ended_is_waited_for(self) -> None:
        id = add.delay(2, 2).id
        with pytest.raises(CommandError, match=f"{id} has not ended after 0.01 s: it is PENDING"):
            run("taskresult", id, "--timeout", "0.01")
        with pytest.raises(CommandError, match=f"no traceback: the state of {id} is PENDING"):
            run("taskresult", id, "--traceback")

    def test_unknown_id_is_told(self) -> None:
        err = StringIO()
        with pytest.raises(CommandError, match="has not ended"):
            call_command("taskresult", "no-such", "--timeout", "0.01", stderr=err)
        assert err.getvalue() == "Waiting: no-such is PENDING, and has no row.\n"

    def test_value_that_can_not_be_read_is_an_error(self) -> None:
        with pytest.raises(CommandError, match="can't be read"):
            run("taskresult", ended(state="SUCCESS", result="4", content_type="application/x-python-serialize"))

    def test_name_of_another_task_is_an_error(self) -> None:
        with pytest.raises(CommandError, match=f"is the id of {add.name}, not of other"):
            run("taskresult", ended(state="SUCCESS", result="4"), "-t", "other")


class TestTaskpurge:
    @pytest.fixture(autouse=True)
    def _messages(self) -> None:
        for queue in ("taskq", "taskq", "hipri", "lopri"):
            send_task(add.name, (2, 2), queue=queue)
        send_task(add.name, (2, 2), countdown=3600)

    @pytest.fixture
    def answer(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
        """Answer the question, and return what was asked."""

        def set_answer(text: str) -> list[str]:
            asked: list[str] = []

            def reply(question: str) -> str:
                asked.append(question)
                if not text:
                    raise EOFError
                return text

            monkeypatch.setattr(builtins, "input", reply)
            return asked

        return set_answer

    def test_python_purges_declared_queues_or_named_ones(self) -> None:
        assert control.purge() == 2
        assert {message.queue for message in Message.objects.all()} == {"hipri", "lopri"}
        assert control.discard_all(["hipri", "nothing waits here"]) == 1
        assert [message.queue for message in Message.objects.all()] == ["lopri"]

    def test_a_text_is_the_name_of_one_queue(self) -> None:
        send_task(add.name, (2, 2), queue="h")
        assert control.purge("hipri") == 1
        assert Message.objects.filter(queue="h").exists()

    def test_declared_queues_are_purged_after_a_yes(self, answer: Callable[[str], list[str]]) -> None:
        asked = answer("yes")
        out, _ = run("taskpurge")
        assert out.startswith("WARNING: This will remove all tasks from queue: taskq.\n")
        assert asked == ["Are you sure you want to delete all tasks (yes/NO)? "]
        assert out.endswith("Purged 2 messages from 1 known task queue.\n")
        assert {message.queue for message in Message.objects.all()} == {"hipri", "lopri"}
        assert ScheduledMessage.objects.count() == 1
        assert TaskRun.objects.filter(state="REVOKED").count() == 2

    @pytest.mark.parametrize("text", ["no", "n", "", "YESTERDAY"])
    def test_nothing_is_purged_after_another_answer(self, answer: Callable[[str], list[str]], text: str) -> None:
        answer(text)
        with pytest.raises(CommandError, match="Nothing was purged"):
            run("taskpurge")
        assert Message.objects.count() == 4

    @pytest.mark.parametrize(
        ("options", "said", "left"),
        [
            (["-Q", "hipri,lopri"], "Purged 2 messages from 2 known task queues.\n", 2),
            (["-Q", "hipri,lopri", "-X", "lopri"], "Purged 1 message from 1 known task queue.\n", 3),
            (["-Q", "empty"], "No messages purged from 1 queue.\n", 4),
            (["-Q", "empty,void"], "No messages purged from 2 queues.\n", 4),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_named_queues_are_purged_without_a_question(self, options: list[str], said: str, left: int) -> None:
        assert run("taskpurge", "-f", *options) == (said, "")
        assert Message.objects.count() == left

    def test_queue_that_is_not_declared_is_an_error_where_it_has_to_be(self) -> None:
        with override_settings(TASKQ_CREATE_MISSING_QUEUES=False), pytest.raises(CommandError, match="hipri"):
            run("taskpurge", "-f", "-Q", "hipri")

    def test_other_brokers_are_an_error_without_their_password(self) -> None:
        url = "redis://:secret@localhost/0"
        with override_settings(TASKQ_BROKER_URL=url), pytest.raises(CommandError, match="only django://") as error:
            run("taskpurge", "-f")
        assert "secret" not in str(error.value)

    def test_database_that_is_away_is_an_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("taskq.control.purging.consuming.purge", away)
        with pytest.raises(CommandError, match="does not answer: connection refused"):
            run("taskpurge", "-f")


class TestTaskreport:
    def test_versions_settings_and_databases_are_printed_without_secrets(self) -> None:
        options = {
            "sentinel_kwargs": {"password": "hidden-1"},
            "urls": ["redis://:hidden-2@localhost"],
            "aws_api_key": "hidden-3",
            "visibility_timeout": 60,
        }
        url = "amqp://guest:hidden-4@localhost//"
        with override_settings(TASKQ_BROKER_URL=url, TASKQ_BROKER_TRANSPORT_OPTIONS=options):
            out, _ = run("taskreport")
        assert f"software -> taskq:{taskq.__version__} py:" in out
        assert "TASKQ_BROKER_URL: 'amqp://guest:********@localhost//'" in out
        assert "'visibility_timeout': 60" in out
        assert "database 'default': sqlite 3." in out
        assert "hidden" not in out
        assert django_settings.SECRET_KEY not in out

    def test_database_that_is_away_is_a_line(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(type(connections["default"]), "get_database_version", away)
        assert "database 'default': sqlite does not answer (OperationalError)\n" in run("taskreport")[0]

    def test_wrong_setting_is_named(self) -> None:
        with override_settings(TASKQ_LEASE="long"), pytest.raises(CommandError, match="TASKQ_LEASE must be"):
            run("taskreport")


class TestTaskqueues:
    def test_queue_is_paused_listed_and_resumed(self) -> None:
        assert run("taskqueues") == ("No queue is paused.\n", "")
        out, _ = run("taskqueues", "pause", "reports", "--seconds", "3600", "--reason", "moving\x1b[2J")
        row = QueuePause.objects.get()
        assert out.startswith(f"reports is paused since {row.since:%Y-%m-%d %H:%M:%S} UTC")
        assert out.endswith(f"until {row.until:%Y-%m-%d %H:%M:%S} UTC: moving\\x1b[2J\n")
        assert run("taskqueues", "list")[0] == out
        assert run("taskqueues", "resume", "reports") == ("reports is resumed.\n", "")
        with pytest.raises(CommandError, match="reports was not paused"):
            run("taskqueues", "resume", "reports")

    def test_pause_that_is_over_is_none(self) -> None:
        control.pause_queue("reports", seconds=0.001)
        wait_until(lambda: control.paused_queues() == [], what="the end of the pause")
        assert not control.resume_queue("reports")

    @pytest.mark.parametrize(
        ("queue", "seconds"), [("", None), ("x" * 256, None), ("a\0b", 1), ("a", -1), ("a", 1e300)]
    )
    def test_what_can_be_no_pause_is_refused(self, queue: str, seconds: float | None) -> None:
        with pytest.raises(ValueError, match=r"queue|seconds"):
            control.pause_queue(queue, seconds=seconds)
        with pytest.raises(CommandError):
            run("taskqueues", "pause", queue, *(["--seconds", str(seconds)] if seconds else []))

    def test_database_that_is_away_is_said(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(control, "paused_queues", away)
        with pytest.raises(CommandError, match="The database does not answer: connection refused"):
            run("taskqueues")
