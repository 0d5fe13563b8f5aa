"""In memory mode a message lives and dies with its transaction, also inside of ``TestCase``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.test import TestCase, TransactionTestCase

from taskq import AsyncResult
from taskq.testing import TaskqTestMixin, assert_not_sent, assert_sent, drain, override

from . import tasks


class AsyncTasks(TestCase):
    """Coroutine functions use the test's connection: they see its rows, and theirs are rolled back."""

    def setUp(self) -> None:
        assert not User.objects.exists()  # whatever the tests before this one did
        User.objects.create(username="of the test")

    def test_in_memory(self) -> None:
        with override("memory") as memory:
            result = tasks.create_user_async.delay("ann")
            memory.drain()
            assert result.get() == ["of the test", "ann", "ann again"]
        assert User.objects.count() == 3

    def test_inline(self) -> None:
        with override("inline"):
            assert tasks.create_user_async.delay("ann").get() == ["of the test", "ann", "ann again"]

    def test_eager(self) -> None:
        with override("eager"):
            assert tasks.create_user_async.delay("ann").get() == ["of the test", "ann", "ann again"]

    def test_retries_and_calls_through_map(self) -> None:
        with override("memory") as memory:
            again = tasks.create_user_twice_async.delay()
            memory.drain()
            assert again.get() == 3
            mapped = tasks.add_async.starmap([(1, 2), (3, 4)]).delay()
            memory.drain()
            assert mapped.get() == [6, 10]

    async def test_in_a_coroutine(self) -> None:
        with override("memory") as memory:
            result = await tasks.create_user_async.adelay("ann")
            await memory.adrain()
            assert await result == ["of the test", "ann", "ann again"]
        with override("inline"):
            result = await tasks.create_user_async.adelay("bob")
            assert len(await result) == 5
        assert await User.objects.acount() == 5


class WithoutHelp(TestCase):
    def test_get_points_to_the_help_for_tests(self) -> None:
        result = tasks.add.delay(1, 1)
        for sent in (result, AsyncResult("not sent here")):
            with pytest.raises(RuntimeError, match=r"in a TestCase .*taskq.testing.*drain"):
                sent.get(timeout=5)
        with pytest.raises(RuntimeError, match="in a TestCase"), transaction.atomic():
            result.get()


class Abort(Exception):
    pass


@contextmanager
def rolled_back() -> Iterator[None]:
    """A block of a transaction that ends with an error."""
    with suppress(Abort), transaction.atomic():
        yield
        raise Abort


class InTestCase(TaskqTestMixin, TestCase):
    def setUp(self) -> None:
        super().setUp()
        tasks.seen.clear()

    def test_message_outside_of_atomic_is_sent_at_once(self) -> None:
        result = tasks.add.delay(1, 1)
        self.drain()
        assert result.get() == 2

    def test_rolled_back_savepoint_drops_its_messages(self) -> None:
        with transaction.atomic():
            kept = tasks.add.delay(1, 1)
            with rolled_back():
                dropped = tasks.add.delay(2, 2)
                self.assert_sent(tasks.add, count=2)
            self.assert_sent(tasks.add, count=1)
        assert [message.id for message in self.taskq.sent] == [kept.id]
        assert [end.task_id for end in self.drain()] == [kept.id]
        assert dropped.state == "PENDING"
        assert not dropped.exists()

    def test_rolled_back_block_drops_its_messages(self) -> None:
        with rolled_back():
            tasks.add.delay(1, 1)
        self.assert_not_sent()
        assert self.drain() == []

    def test_drain_sees_no_message_of_an_open_transaction(self) -> None:
        with transaction.atomic():
            result = tasks.add.delay(1, 1)
            assert result.exists()
            assert self.drain() == []
        assert len(self.drain()) == 1

    def test_captured_on_commit_callbacks_send_on_commit_messages(self) -> None:
        with self.captureOnCommitCallbacks(execute=True), transaction.atomic():
            tasks.note.delay("now")
            tasks.note.delay_on_commit("on commit")
            self.assert_sent(tasks.note, count=1)
        self.assert_sent(tasks.note, count=2)
        self.drain()
        assert [args for args, _ in tasks.seen] == [("now",), ("on commit",)]

    def test_sending_outside_of_atomic_adds_no_on_commit_callback(self) -> None:
        with self.captureOnCommitCallbacks() as callbacks:
            tasks.note.delay()
        assert callbacks == []

    def test_on_commit_callbacks_of_a_task_run(self) -> None:
        tasks.commits.delay()
        with self.captureOnCommitCallbacks() as callbacks:
            assert [end.name for end in self.drain()] == [tasks.commits.name, tasks.note.name]
        assert tasks.seen == ["committed", (("later",), {})]
        assert callbacks == []

    def test_tasks_use_the_tests_connection(self) -> None:
        key = tasks.create_user.delay("ada").id
        self.drain()
        assert AsyncResult[int](key).get() == User.objects.get(username="ada").pk

    def test_failing_statement_of_a_task_does_not_break_the_transaction(self) -> None:
        first, second = tasks.create_user.delay("ada"), tasks.create_user.delay("ada")
        self.drain()
        assert User.objects.count() == 1
        assert first.successful()
        assert isinstance(second.get(propagate=False), IntegrityError)


@override("inline")
class InlineInTestCase(TestCase):
    def test_inline_task_runs_at_once(self) -> None:
        assert tasks.add.delay(1, 1).get() == 2

    def test_inline_task_sent_in_a_block_runs_when_the_block_ends(self) -> None:
        tasks.seen.clear()
        with transaction.atomic():
            result = tasks.note.delay()
            assert result.state == "PENDING"
        assert result.state == "SUCCESS"
        assert len(tasks.seen) == 1

    def test_inline_task_runs_with_captured_callbacks_executed(self) -> None:
        tasks.seen.clear()
        with self.captureOnCommitCallbacks(execute=True), transaction.atomic():
            tasks.note.delay()
        assert len(tasks.seen) == 1


@override("inline", attr_name="memory")
class InTransactionTestCase(TransactionTestCase):
    def setUp(self) -> None:
        tasks.seen.clear()

    def test_inline_task_runs_on_commit(self) -> None:
        with transaction.atomic():
            tasks.note.delay()
            assert tasks.seen == []
        assert len(tasks.seen) == 1

    def test_inline_task_of_a_rolled_back_block_does_not_run(self) -> None:
        with rolled_back():
            tasks.note.delay()
        assert tasks.seen == []
        assert_not_sent()

    def test_drain_in_an_earlier_callback_runs_the_inline_task_once(self) -> None:
        with transaction.atomic():
            transaction.on_commit(lambda: tasks.seen.append(len(drain())))
            tasks.note.delay()
        assert len(tasks.seen) == 2
        assert_sent(tasks.note)
