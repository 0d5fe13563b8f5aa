"""``run``: runs a canvas to its end by each store of the workflow engine: rows on each database, memory, eager."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest

from taskq import states
from taskq.exceptions import ChordError
from taskq.models import Group, Message, TaskRun
from taskq.records import Envelope
from taskq.results.group_result import GroupResult
from taskq.store.retry_workflow import retry_kept
from taskq.testing import Memory, override
from tests.support.jobs import heard
from tests.support.worker_here import WorkerHere

#: An id that no case has given.
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def retry_one(task_id: str, alias: str, **changes: Any) -> Envelope:
    """Retry a failed task of a workflow in its place; raise why it was refused."""
    found, refused = retry_kept([task_id], alias=alias, **changes)
    for error in refused.values():
        raise error
    return found[task_id]


class Run:
    """Runs canvases by one store. ``run(sig)`` sends one and works until nothing waits."""

    def __call__(self, sig: Any, *args: Any) -> Any:
        result = self.send(sig, *args)
        self.work()
        return result

    def send(self, sig: Any, *args: Any) -> Any:
        """Send a canvas and return its result."""
        return sig.apply_async(args)

    def work(self, queue: str = "taskq") -> None:
        """Run the messages of a queue, and those of the default queue, until none waits."""
        raise NotImplementedError

    def break_messages(self, queue: str) -> None:
        """Make the bodies of the messages of a queue unreadable."""
        raise NotImplementedError

    def has_run(self, task_id: str) -> bool:
        """Tell whether the store keeps a run of a task."""
        raise NotImplementedError


class _OnRows(Run):
    def __init__(self, alias: str) -> None:
        self._alias = alias

    def work(self, queue: str = "taskq") -> None:
        if queue != "taskq":
            Message.objects.using(self._alias).filter(queue=queue).update(queue="taskq")
        WorkerHere(self._alias).work()
        if not Message.objects.using(self._alias).exists():
            assert not Group.objects.using(self._alias).filter(remaining__gt=0).exists()
            assert not TaskRun.objects.using(self._alias).exclude(state__in=states.READY_STATES).exists()

    def break_messages(self, queue: str) -> None:
        assert Message.objects.using(self._alias).filter(queue=queue).update(body="{")

    def has_run(self, task_id: str) -> bool:
        return TaskRun.objects.using(self._alias).filter(task_id=task_id).exists()


class _InMemory(Run):
    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def work(self, queue: str = "taskq") -> None:
        for name in dict.fromkeys([queue, "taskq"]):
            self._memory.drain(name)

    def break_messages(self, queue: str) -> None:
        for message in self._memory.waiting:
            assert message.queue == queue
            message._claimed = replace(message._claimed, body="{")

    def has_run(self, task_id: str) -> bool:
        return self._memory._runs.present(task_id) is not None


class _Eagerly(Run):
    def has_run(self, task_id: str) -> bool:
        return False

    def send(self, sig: Any, *args: Any) -> Any:
        return sig.apply(args)

    def work(self, queue: str = "taskq") -> None:
        """Do nothing: all has run."""


@pytest.fixture
def run(store: str, alias: str) -> Iterator[Run]:
    """Run canvases on one store; the store lasts as long as the test."""
    heard.calls.clear()
    with ExitStack() as stack:
        if store == "rows":
            yield _OnRows(alias)
        else:
            yield _InMemory(stack.enter_context(override())) if store == "memory" else _Eagerly()


def linked(sig: Any, *callbacks: Any) -> Any:
    """Return a signature with callbacks."""
    sig = sig.clone()
    for callback in callbacks:
        sig.link(callback)
    return sig


def ends(result: Any) -> Any:
    """Return how all tasks of a result ended.

    That is the value of a success, the state and exception of a failure, another state alone. A group gives a list, a
    result with predecessors a tuple, in the order in which they run.
    """
    if result.parent is not None:
        before = ends(result.parent)
        return (*(before if result.parent.parent is not None else (before,)), _end(result))
    return _end(result)


def last(result: Any) -> Any:
    """Return how the last task of a result ended, or the last group."""
    return _end(result)


def failed(error: BaseException) -> str:
    """Return how a task ended that failed with ``error``."""
    return f"{states.FAILURE} {error!r}"


def dependency(task_id: str, error: BaseException) -> str:
    """Return how the body of a chord ended whose member has failed."""
    return failed(dependency_error(task_id, error))


def dependency_error(task_id: str, error: BaseException) -> ChordError:
    """Return the error of the body of a chord whose member has failed."""
    return ChordError(f"Dependency {task_id} raised {error!r}")


def _end(result: Any) -> Any:
    if isinstance(result, GroupResult):
        return [ends(member) for member in result.results]
    if result.state == states.SUCCESS:
        return result.result
    return _UUID.sub("<id>", failed(result.result)) if result.state == states.FAILURE else result.state
