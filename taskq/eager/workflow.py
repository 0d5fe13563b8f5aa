"""Runs the messages of one eager call one after the other, and advances its workflow in memory."""

from __future__ import annotations

from collections import deque
from typing import Any, NoReturn

from taskq import states
from taskq.exceptions import ChordError
from taskq.execution.inline import InlineRun, delivery_of
from taskq.messages import values
from taskq.messages.protocol import RawMessage
from taskq.records import Envelope, Settlement
from taskq.results.async_result import AsyncResult
from taskq.results.eager import EagerResult
from taskq.results.group_result import GroupResult
from taskq.results.serialization import from_frozen
from taskq.workflows.memory import MemoryWorkflows, Runs
from taskq.workflows.plan import Plan

from .runs import result_of, run_to_end, settlement_of, store, store_failure, throws


class EagerWorkflow(Runs):
    """The results of ended tasks, and the waiting messages. ``throw`` raises the first exception, see ``apply``."""

    def __init__(self, throw: bool | None) -> None:
        self._throw = throw
        self._results: dict[str, EagerResult[Any]] = {}
        self._values: dict[str, tuple[str, str | None, str]] = {}
        #: The exceptions of runs, by their text as data: results hold the raised objects.
        self._exceptions: dict[str | None, BaseException] = {}
        self._waiting: deque[Envelope] = deque()
        self._workflows = MemoryWorkflows(self)
        self._ending: Envelope | None = None

    def run_plan(self, plan: Plan) -> Any:
        """Run a canvas, and return its result."""
        self._workflows.start(plan.groups, plan.nodes)
        self._waiting.extend(plan.envelopes)
        self._run()
        assert plan.result is not None
        return self._ended(from_frozen(plan.result))

    def run_after(self, envelope: Envelope, run: InlineRun) -> EagerResult[Any]:
        """Run the follow-ups of a task that has run, and return the result under its id, perhaps a replacement's."""
        self._end(envelope, run)
        self._run()
        return self._results[envelope.task_id]

    def _run(self) -> None:
        """Run all waiting messages; then fill in the results of children."""
        while self._waiting:
            self._end(*run_to_end(self._waiting.popleft()))
        for result in self._results.values():
            if children := result.children:
                children[:] = [self._ended(child) for child in children]

    def _end(self, envelope: Envelope, run: InlineRun) -> None:
        self._results[envelope.task_id] = result_of(envelope, run)
        if run.outcome.state in states.EXCEPTION_STATES:
            self._exceptions[run.outcome.result] = run.exception
        self._ending, waiting = envelope, len(self._waiting)
        self._workflows.settle(settlement_of(envelope, run))
        result = self._results[envelope.task_id]
        # Follow-ups that can't be sent make a failure of a success: ``write`` has stored it.
        if result.state == run.outcome.state:
            store(envelope, run)
        if throws(result.state, self._throw):
            self._raise(result.result, waiting)

    def _raise(self, error: BaseException, waiting: int) -> NoReturn:
        """Raise the exception of a task, after its errbacks; the ``waiting`` messages of other tasks do not run."""
        self._throw = False
        for _ in range(waiting):
            self._waiting.popleft()
        self._run()
        raise error

    # -- ``Runs``

    def is_final(self, task_id: str) -> bool:
        return task_id in self._values and states.is_final(self._values[task_id][0])

    def write(self, settlement: Settlement) -> None:
        """Keep the value of a task; the failure of a task that has not run becomes its result."""
        task_id, error = settlement.task_id, settlement.result
        self._values[task_id] = settlement.state, error, settlement.content_type
        known = self._results.get(task_id)
        if settlement.state == states.FAILURE and (known is None or known.state != states.FAILURE):
            exception = self._exception(error)
            self._results[task_id] = EagerResult(task_id, exception, states.FAILURE, name=settlement.name)
            store_failure(task_id, settlement.name, error or "{}")

    def _exception(self, error: str | None) -> BaseException:
        if error not in self._exceptions:
            found = self._exceptions[error] = values.decode_exception(error)
            member = self._results.get(found.member_id or "") if isinstance(found, ChordError) else None
            if member is not None and isinstance(member.result, BaseException):
                found.__cause__ = member.result
        return self._exceptions[error]

    def value(self, task_id: str) -> tuple[str, str | None, str] | None:
        return self._values.get(task_id)

    def delete(self, task_id: str) -> None:
        """Keep the result: the caller gets it."""

    def message(self, settlement: Settlement) -> RawMessage | None:
        return None if self._ending is None else delivery_of(self._ending)

    def send(self, envelope: Envelope) -> None:
        self._waiting.append(envelope)

    # -- results

    def _ended(self, result: Any) -> Any:
        """Return a planned result and its parents with the results of tasks that have run."""
        line = [result]
        while line[-1].parent is not None:
            line.append(line[-1].parent)
        parent = None
        for each in reversed(line):
            parent = self._one_ended(each, parent)
        return parent

    def _one_ended(self, result: AsyncResult[Any] | GroupResult[Any], parent: Any) -> Any:
        if isinstance(result, GroupResult):
            return GroupResult(result.id, [self._ended(member) for member in result.results], parent)
        if result.id not in self._results:
            return result
        # An object of its own: as the child of another task, and as a replacement, a result has other predecessors.
        ended = EagerResult[Any](result.id, None, states.PENDING, parent=parent)
        ended.become(self._results[result.id])
        return ended
