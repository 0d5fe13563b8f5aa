"""Canvases in the calling process: ``apply``, and everything while ``TASKQ_ALWAYS_EAGER`` is on.

Each task is run by the worker's own code, and what follows from it is what a worker
would send. Groups are counted here as the store counts them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

from taskq import states
from taskq.calls.registry import tasks
from taskq.canvas.signature import Signature
from taskq.exceptions import ChordError
from taskq.messages import values
from taskq.records import Dependent, Envelope, NewGroup, NewNode
from taskq.results.async_result import AsyncResult
from taskq.results.eager import EagerResult
from taskq.results.group_result import GroupResult
from taskq.sending.send import add_children
from taskq.workflows.cascade import headers_before
from taskq.workflows.fields import merged
from taskq.workflows.plan import dependents_of, errbacks_of, is_member, plan, plan_body
from taskq.workflows.types import TASK, kind_of

from . import single

if TYPE_CHECKING:
    from taskq.execution.inline import InlineRun

__all__ = ["apply", "go_on"]


def apply(
    sig: Signature[Any], args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None, options: dict[str, Any]
) -> Any:
    """Run ``sig`` and all that follows from it, and return its result; ``None`` for an empty chain.

    ``throw`` among the options lets the first exception through; the default is ``TASKQ_EAGER_PROPAGATES``.
    """
    throw = options.pop("throw", None)
    if kind_of(sig) == TASK:
        args, kwargs, together = merged(sig, args, kwargs, options)
        return single.apply(sig.task, tasks.get(sig.task), args, kwargs, together, throw)
    add_to_parent = options.pop("add_to_parent", True)
    made = plan(sig, args or (), kwargs, **options)
    if made.result is None:
        return None
    process = _Process(throw)
    process.take(made.groups, made.envelopes)
    process.run()
    process.finish()
    result = process.ended(made.result)
    if add_to_parent:
        add_children((result,))
    return result


def go_on(envelope: Envelope, run: InlineRun, result: EagerResult[Any], throw: bool | None) -> EagerResult[Any]:
    """Run what follows from a task that has run, and return its result: another's if that took its place."""
    process = _Process(throw)
    process.results[envelope.task_id] = result
    if single.throws(run, throw):
        process.fail(envelope, run)
    process.follow(envelope, run)
    process.run()
    process.finish()
    return process.results[envelope.task_id]


@dataclass(slots=True)
class _Header:
    """A group: how many members have not ended, and the values of those that have, with their places."""

    new: NewGroup
    remaining: int
    failed: bool = False
    values: list[tuple[int, int, Any]] = field(default_factory=list)


class _Process:
    """Everything that one call leads to. ``results`` are those of all tasks that have ended."""

    def __init__(self, throw: bool | None) -> None:
        self.throw = throw
        self.results: dict[str, EagerResult[Any]] = {}
        self._waiting: deque[Envelope] = deque()
        self._headers: dict[str, _Header] = {}
        #: What ``add_to_chord`` has added, and all that has ended: what comes again is the same task.
        self._joined: set[str] = set()
        self._over: set[str] = set()

    def take(self, groups: Iterable[NewGroup], envelopes: Iterable[Envelope]) -> None:
        """Note groups, and messages to run."""
        for group in groups:
            if group.added and group.group_id in self._headers:
                self._headers[group.group_id].remaining += group.size
            else:
                self._headers[group.group_id] = _Header(group, group.size)
        self._waiting += envelopes

    def run(self) -> None:
        """Run until nothing is left."""
        while self._waiting:
            message = self._waiting.popleft()
            if message.task_id in self._over:
                continue
            envelope, run = single.run_to_end(message)
            self.results[envelope.task_id] = single.result_of(envelope, run)
            if single.throws(run, self.throw):
                self.fail(envelope, run)
            self.follow(envelope, run)

    def fail(self, envelope: Envelope, run: InlineRun) -> NoReturn:
        """Let through the exception of a task, after its errbacks; what else was to run does not."""
        self.throw = False
        self._waiting.clear()
        self.follow(envelope, run)
        self.run()
        raise run.exception

    def follow(self, envelope: Envelope, run: InlineRun) -> None:
        """Take what follows from a task that has ended, and count it."""
        outcome = run.outcome
        self._grow([NewGroup(*group) for group in outcome.groups], [NewNode(*node) for node in outcome.nodes])
        self._waiting += (Envelope(*each) for each in outcome.follow_ups)
        if outcome.state == states.IGNORED and outcome.follow_ups:
            return  # replaced: what took its place ends under its id
        self._over.add(envelope.task_id)
        for dependent in outcome.dependents:
            self._never(Dependent(*dependent), run.exception, outcome.result or "{}")
        if is_member(envelope.headers):
            error = None if outcome.state == states.SUCCESS else run.exception
            self._count(envelope.headers["group"], envelope.task_id, envelope.headers["group_index"], error)

    def _grow(self, groups: list[NewGroup], nodes: list[NewNode]) -> None:
        """Note groups, and what joins those that are there: a frozen signature that is added twice is one task."""
        for group in (group for group in groups if group.added):
            joining = {node.task_id for node in nodes if node.group_id == group.group_id}
            group.size = len(joining - self._joined)
            over = headers_before(joining & self._joined, nodes)
            groups = [each for each in groups if each.group_id not in over]
            self._joined |= joining
        self.take(groups, ())

    def _never(self, dependent: Dependent, error: BaseException, text: str) -> None:
        """Have a task fail that can't run any more."""
        self.results[dependent.task_id] = EagerResult(dependent.task_id, error, states.FAILURE, name=dependent.name)
        single.store_failure(dependent.task_id, dependent.name, text)
        if dependent.group_id:
            self._count(dependent.group_id, dependent.task_id, 0, error)

    def _count(self, group_id: str, task_id: str, index: int, error: BaseException | None) -> None:
        header = self._headers.get(group_id)
        if header is None:
            return
        header.remaining -= 1
        if error is not None and not header.failed:
            header.failed = True
            self._fail_body(header.new, ChordError.by_member(task_id, error))
        header.values.append((index, len(header.values), self.results[task_id].result))
        if not (header.remaining or header.failed) and header.new.body is not None:
            found = [value for _, _, value in sorted(header.values, key=lambda each: each[:2])]
            made = plan_body(header.new.body, found, root_id=header.new.root_id, parent_id=task_id)
            self.take(made.groups, made.envelopes)

    def _fail_body(self, group: NewGroup, error: ChordError) -> None:
        if group.body is None:
            return
        text = values.encode_exception(error)
        dependents = dependents_of(group.body)
        for dependent in dependents:
            self._never(dependent, error, text)
        called = errbacks_of(group.body)
        if called and dependents:
            failure = {"id": dependents[0].task_id, "task": dependents[0].name}
            errbacks = import_module("taskq.workflows.errbacks")
            sequel = errbacks.planned(called, errbacks.Failure(failure, text))
            self.take(sequel.groups, sequel.envelopes)

    # -- results

    def finish(self) -> None:
        """Give each result the results of what it has sent, now that they are there."""
        for result in self.results.values():
            if children := result.children:
                children[:] = [self.ended(child) for child in children]

    def ended(self, result: Any) -> Any:
        """Return a planned result, with all before it, as the results of what has run."""
        line = [result]
        while line[-1].parent is not None:
            line.append(line[-1].parent)
        parent = None
        for each in reversed(line):
            parent = self._ended(each, parent)
        return parent

    def _ended(self, result: AsyncResult[Any] | GroupResult[Any], parent: Any) -> Any:
        if isinstance(result, GroupResult):
            return GroupResult(result.id, [self.ended(member) for member in result.results], parent)
        ended = self.results.get(result.id)
        if ended is None:
            return result
        ended.parent = parent
        return ended
