"""The store as a plain model: what must be in the database after each step.

Messages are known by their row ids, runs by their task ids. Every result that is
written is unlike all others, so that a final state that was overwritten shows.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from taskq import states
from taskq.records import Envelope


@dataclass
class ModelMessage:
    """A message that waits or is held."""

    task_id: str
    queue: str
    priority: int
    tracked: bool
    token: str = ""
    deliveries: int = 0
    redelivered: bool = False
    acked: bool = False
    revoked: str = ""


@dataclass
class ModelRun:
    """The row of a task id. ``old`` says that it ended long ago."""

    state: str = states.PENDING
    result: str | None = None
    old: bool = False

    @property
    def final(self) -> bool:
        return self.state in states.READY_STATES


@dataclass
class Model:
    """All that the store keeps."""

    messages: dict[int, ModelMessage] = field(default_factory=dict)
    #: Scheduled messages in the order in which they are due, and whether they are due now.
    scheduled: list[tuple[ModelMessage, bool]] = field(default_factory=list)
    runs: dict[str, ModelRun] = field(default_factory=dict)
    attempts: list[tuple[str, str]] = field(default_factory=list)
    #: Ids that were revoked when nothing was sent under them: whatever is sent later is refused when it is claimed.
    revoked_early: set[str] = field(default_factory=set)

    # -- sending

    def send(self, envelope: Envelope) -> ModelMessage | None:
        """Take note of a message; return it if it can be claimed at once, and has a row id."""
        if envelope.tracked:
            self.start(envelope.task_id, reset=envelope.reset)
        message = ModelMessage(envelope.task_id, envelope.queue, envelope.priority, envelope.tracked)
        if envelope.delay <= 0:
            return message
        self.scheduled.append((message, envelope.delay < 1))
        return None

    def start(self, task_id: str, *, reset: bool) -> None:
        """Take note of a run: one that is there stays, unless it is final and to be reset."""
        run = self.runs.get(task_id)
        if run is None or (reset and run.final):
            self.runs[task_id] = ModelRun()

    def due(self) -> list[ModelMessage]:
        """Return what can be promoted."""
        return [message for message, due in self.scheduled if due]

    def waiting(self, queue: str) -> list[int]:
        """Return what can be claimed, in the order in which it must be."""
        ids = [number for number, m in self.messages.items() if not m.token and m.queue == queue]
        return sorted(ids, key=lambda number: (-self.messages[number].priority, number))

    def held(self, token: str) -> list[int]:
        """Return what a worker holds."""
        return [number for number, message in self.messages.items() if message.token == token]

    # -- ending

    def end(self, task_id: str, state: str, result: str | None, *, old: bool = False) -> None:
        """Write a state, unless there is a final one."""
        run = self.runs.setdefault(task_id, ModelRun())
        if not run.final:
            run.state, run.result, run.old = state, result, old and state in states.READY_STATES

    def ignore(self, task_id: str) -> None:
        """Drop the row of a success whose result is ignored."""
        run = self.runs.get(task_id)
        if run is not None and not run.final:
            del self.runs[task_id]

    def give_back(self, token: str) -> int:
        """Take everything from a worker that is gone; return how many messages that were."""
        held = self.held(token)
        for number in held:
            message = self.messages[number]
            if message.acked:
                del self.messages[number]
                self.end(message.task_id, states.FAILURE, None)
            else:
                message.token, message.redelivered = "", True
                self.forget_start(message.task_id)
        return len(held)

    def forget_start(self, task_id: str) -> None:
        """Take note that a run was lost, and will begin again."""
        run = self.runs.get(task_id)
        if run is not None and run.state == states.STARTED:
            run.state = states.PENDING

    def revoke(self, task_ids: set[str], what: str) -> int:
        """Delete what waits and flag what is held; return how many messages that were."""
        waiting = [number for number, m in self.messages.items() if m.task_id in task_ids and not m.token]
        claimed = [message for message in self.messages.values() if message.task_id in task_ids and message.token]
        scheduled = [entry for entry in self.scheduled if entry[0].task_id in task_ids]
        gone = {self.messages.pop(number).task_id for number in waiting}
        self.scheduled = [entry for entry in self.scheduled if entry not in scheduled]
        for task_id in gone | {message.task_id for message, _ in scheduled}:
            self.end(task_id, states.REVOKED, None)
        for message in claimed:
            message.revoked = what
        self.revoked_early |= task_ids - self.runs.keys() - {message.task_id for message in claimed}
        return len(waiting) + len(claimed) + len(scheduled)
