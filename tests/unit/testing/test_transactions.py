"""In memory mode a message lives and dies with its transaction, also inside of ``TestCase``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.test import TestCase, TransactionTestCase

from taskq import AsyncResult
from taskq.testing import TaskqTestMixin, assert_not_sent, assert_sent, drain, override

from . import tasks


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

    def test_outside_of_atomic_it_is_sent_at_once(self) -> None:
        result = tasks.add.delay(1, 1)
        self.drain()
        assert result.get() == 2

    def test_a_savepoint_that_is_rolled_back_takes_its_messages_along(self) -> None:
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

    def test_a_block_that_is_rolled_back(self) -> None:
        with rolled_back():
            tasks.add.delay(1, 1)
        self.assert_not_sent()
        assert self.drain() == []

    def test_no_worker_sees_an_open_transaction(self) -> None:
        with transaction.atomic():
            result = tasks.add.delay(1, 1)
            assert result.exists()
            assert self.drain() == []
        assert len(self.drain()) == 1

    def test_with_callbacks_captured(self) -> None:
        with self.captureOnCommitCallbacks(execute=True), transaction.atomic():
            tasks.note.delay("now")
            tasks.note.delay_on_commit("on commit")
            self.assert_sent(tasks.note, count=1)
        self.assert_sent(tasks.note, count=2)
        self.drain()
        assert [args for args, _ in tasks.seen] == [("now",), ("on commit",)]

    def test_without_an_atomic_block_of_ones_own_no_callback_is_added(self) -> None:
        with self.captureOnCommitCallbacks() as callbacks:
            tasks.note.delay()
        assert callbacks == []

    def test_what_a_task_does_on_commit_is_done(self) -> None:
        tasks.commits.delay()
        with self.captureOnCommitCallbacks() as callbacks:
            assert [end.name for end in self.drain()] == [tasks.commits.name, tasks.note.name]
        assert tasks.seen == ["committed", (("later",), {})]
        assert callbacks == []

    def test_tasks_use_the_tests_connection(self) -> None:
        key = tasks.create_user.delay("ada").id
        self.drain()
        assert AsyncResult[int](key).get() == User.objects.get(username="ada").pk

    def test_a_statement_that_fails_spoils_nothing(self) -> None:
        first, second = tasks.create_user.delay("ada"), tasks.create_user.delay("ada")
        self.drain()
        assert User.objects.count() == 1
        assert first.successful()
        assert isinstance(second.get(propagate=False), IntegrityError)


@override("inline")
class InlineInTestCase(TestCase):
    def test_it_runs_at_once(self) -> None:
        assert tasks.add.delay(1, 1).get() == 2

    def test_in_a_block_it_runs_when_the_block_has_ended(self) -> None:
        tasks.seen.clear()
        with transaction.atomic():
            result = tasks.note.delay()
            assert result.state == "PENDING"
        assert result.state == "SUCCESS"
        assert len(tasks.seen) == 1

    def test_or_when_the_callbacks_are_executed(self) -> None:
        tasks.seen.clear()
        with self.captureOnCommitCallbacks(execute=True), transaction.atomic():
            tasks.note.delay()
        assert len(tasks.seen) == 1


@override("inline", attr_name="memory")
class InTransactionTestCase(TransactionTestCase):
    def setUp(self) -> None:
        tasks.seen.clear()

    def test_it_runs_on_commit(self) -> None:
        with transaction.atomic():
            tasks.note.delay()
            assert tasks.seen == []
        assert len(tasks.seen) == 1

    def test_rolled_back(self) -> None:
        with rolled_back():
            tasks.note.delay()
        assert tasks.seen == []
        assert_not_sent()

    def test_another_callback_comes_first(self) -> None:
        with transaction.atomic():
            transaction.on_commit(lambda: tasks.seen.append(len(drain())))
            tasks.note.delay()
        assert len(tasks.seen) == 2
        assert_sent(tasks.note)
