"""The store against a model: whatever is sent, claimed, settled, lost and revoked, and in whatever order.

After each step the tables hold exactly what the model says: no message is lost or
held by two, nothing is settled twice, no final state changes. Claims come in order.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from taskq import states
from taskq.engines import for_alias
from taskq.models import Attempt, Message, ScheduledMessage, TaskRun, Worker
from taskq.records import Claimed, Envelope, Progress, Settlement
from taskq.store import claim as claims
from taskq.store import requeue, retention, workers
from taskq.store.progress import write
from taskq.store.recover import recover, recover_orphans
from taskq.store.revoke import revoke
from taskq.store.settle import settle
from tests.support.databases import Database
from tests.support.envelopes import ending, envelope
from tests.support.length import FULL
from tests.support.retention import expire

from .model import ModelMessage
from .store_sending import DELAYS, ENDS, MONTH, QUEUES, SendingMachine, envelopes, follow_ups, some_ids


def _some_claimed(machine: StoreMachine) -> bool:
    return any(machine.claimed.values())


class StoreMachine(SendingMachine):
    """Drives the store of one database. ``database`` is set by the test."""

    # -- workers

    @initialize(sent=st.lists(envelopes, min_size=3, max_size=8), claimed=st.integers(1, 5))
    def begin_with_something_claimed(self, sent: list[Envelope], claimed: int) -> None:
        self.start_worker()
        self.send_many(sent)
        for queue in QUEUES:
            self._claim(self.living[0], queue, claimed)

    @precondition(lambda self: len(self.living) < 3)
    @rule()
    def start_worker(self) -> None:
        token = workers.register("w")
        self.living.append(token)
        self.claimed[token] = []

    @precondition(lambda self: self.living)
    @rule(data=st.data(), limit=st.integers(1, 6))
    def claim(self, data: st.DataObject, limit: int) -> None:
        queues = [queue for queue in QUEUES if self.model.waiting(queue)]
        queue = data.draw(st.sampled_from(queues or QUEUES), label="queue")
        self._claim(data.draw(st.sampled_from(self.living), label="worker"), queue, limit)

    def _claim(self, token: str, queue: str, limit: int) -> None:
        expected = self.model.waiting(queue)[:limit]
        claimed = claims.claim(queue, limit, token)
        assert [message.id for message in claimed] == expected
        for message in claimed:
            known = self.model.messages[message.id]
            assert (message.task_id, message.priority, message.tracked) == (
                known.task_id, known.priority, known.tracked,
            )  # fmt: skip
            revoked = "revoke" if known.task_id in self.model.revoked_early else known.revoked
            assert (message.deliveries, message.redelivered, message.revoked) == (
                known.deliveries, known.redelivered, revoked,
            )  # fmt: skip
            known.token = token
        self.claimed[token] += claimed

    def _take_from(self, data: st.DataObject, *, most: int = 4) -> tuple[str, list[Claimed]]:
        """Choose a worker, and some of what it holds or held: one that was taken for dead may not know it yet."""
        token = data.draw(st.sampled_from([t for t in self.living + self.gone if self.claimed[t]]), label="worker")
        held = self._held(token, self.claimed[token])
        stale = not held or data.draw(st.sampled_from([False, False, False, True]), label="stale")
        source = self.claimed[token] if stale else held
        some = st.lists(st.sampled_from(source), min_size=1, max_size=most, unique_by=lambda m: m.task_id)
        return token, data.draw(some, label="messages")

    def _held(self, token: str, messages: list[Claimed]) -> list[Claimed]:
        return [m for m in messages if m.id in self.model.messages and self.model.messages[m.id].token == token]

    # -- ends

    @precondition(_some_claimed)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        token, messages = self._take_from(data)
        settlements = [self._draw_end(data, message) for message in messages]
        held = self._held(token, messages)
        assert settle(token, settlements) == {message.id for message in held}
        self._note_settled([s for s in settlements if s.message_id in {m.id for m in held}])

    @precondition(lambda self: self.living)
    @rule(data=st.data(), limit=st.integers(1, 6))
    def claim_and_settle(self, data: st.DataObject, limit: int) -> None:
        self.claim(data, limit)
        if _some_claimed(self):
            self.settle(data)

    @precondition(_some_claimed)
    @rule(data=st.data(), terminate=st.sampled_from(["", "SIGTERM"]))
    def revoke_and_settle(self, data: st.DataObject, terminate: str) -> None:
        self.revoke({"x"}, data, terminate)
        self.settle(data)

    def _draw_end(self, data: st.DataObject, message: Claimed) -> Settlement:
        kind = data.draw(st.sampled_from(ENDS), label="end")
        result = str(next(self.numbers))
        if kind == "RETRY":
            delay = data.draw(st.sampled_from(DELAYS), label="delay")
            again = envelope(
                message.task_id, queue=message.queue, priority=message.priority, tracked=message.tracked, reset=False,
                delay=delay,
            )  # fmt: skip
            again.tracked = True
            return ending(message, "RETRY", result=result, follow_ups=(again,))
        if kind == "dropped":
            return ending(message, result=result, keep=False)
        if kind == "followed":
            return ending(message, result=result, follow_ups=tuple(data.draw(follow_ups)))
        return ending(message, kind, result=result)

    def _note_settled(self, settled: list[Settlement]) -> None:
        settled = sorted(settled, key=lambda s: s.task_id)
        again: list[Envelope] = []
        others: list[Envelope] = []
        stopped = {s.message_id for s in settled if s.state == "RETRY" and self.model.messages[s.message_id].revoked}
        for s in settled:
            message = self.model.messages.pop(s.message_id)
            before = self.model.runs.get(s.task_id)
            # Of a task that was final already nothing follows.
            follows = s.state == "RETRY" or before is None or not before.final
            if s.message_id in stopped:
                self._note_end(s, states.REVOKED, None)
                continue
            if not s.keep:
                if s.tracked:
                    self.model.ignore(s.task_id)
            elif s.state != states.IGNORED:
                self._note_end(s, s.state, s.result)
            elif s.tracked and before is not None and before.state == states.PENDING:
                self.model.ignore(s.task_id)  # there is nothing to keep
            if s.state == "RETRY":
                self.model.attempts.append((message.task_id, "RETRY"))
            for e in s.follow_ups.envelopes if follows else ():
                (again if e.task_id == s.task_id else others).append(e)
        for e in others:
            if e.tracked:
                self.model.start(e.task_id, reset=e.reset)
        self._note_new([m for e in again + others if (m := self._without_run(e)) is not None], ordered=False)

    def _without_run(self, e: Envelope) -> ModelMessage | None:
        known = e.task_id in self.model.runs
        message = self.model.send(e)
        if not known:
            # A next try brings no row of its own.
            self.model.runs.pop(e.task_id, None)
        return message

    def _note_end(self, s: Settlement, state: str, result: str | None) -> None:
        if s.task_id not in self.model.runs and s.tracked:
            # Its row was deleted while it ran, by another message of the same id: engines differ.
            row = TaskRun.objects.using(self.alias).filter(task_id=s.task_id).first()
            if row is None:
                return
        self.model.end(s.task_id, state, result, old=True)

    @precondition(_some_claimed)
    @rule(data=st.data())
    def give_back_what_did_not_start(self, data: st.DataObject) -> None:
        token, messages = self._take_from(data)
        held = self._held(token, messages)
        assert requeue.requeue(token, [message.id for message in messages]) == len(held)
        for message in held:
            known = self.model.messages[message.id]
            known.token, known.acked = "", False

    @precondition(_some_claimed)
    @rule(data=st.data(), starts=st.integers(1, 5))
    def lose_a_child(self, data: st.DataObject, starts: int) -> None:
        token, messages = self._take_from(data, most=1)
        for message in messages:
            held = bool(self._held(token, [message]))
            lost = requeue.requeue_lost(token, message.id, deliveries=starts, reason="x", worker="w", started=1.0)
            assert lost is held
            if held:
                known = self.model.messages[message.id]
                known.token, known.redelivered, known.deliveries = "", True, starts
                self.model.attempts.append((message.task_id, "LOST"))
                self.model.forget_start(message.task_id)

    @precondition(_some_claimed)
    @rule(data=st.data())
    def postpone(self, data: st.DataObject) -> None:
        token, messages = self._take_from(data, most=1)
        for message in messages:
            known = self.model.messages.get(message.id)
            held = bool(self._held(token, [message]))
            assert requeue.postpone(token, message, 3600) is held
            if not held or known is None:
                continue
            known.token, known.acked = "", False
            if not known.revoked:
                del self.model.messages[message.id]
                self.model.scheduled.append((known, False))

    # -- what is committed before a start

    @precondition(_some_claimed)
    @rule(data=st.data())
    def count_starts(self, data: st.DataObject) -> None:
        token, messages = self._take_from(data)
        held = {message.id for message in self._held(token, messages)}
        final = {n for n in held if (run := self.model.runs.get(self.model.messages[n].task_id)) and run.final}
        assert claims.count_start(token, [message.id for message in messages]) == held - final
        for number in held:
            self.model.messages[number].deliveries += 1
        for number in final:
            del self.model.messages[number]

    @precondition(_some_claimed)
    @rule(data=st.data())
    def acknowledge_first(self, data: st.DataObject) -> None:
        token, messages = self._take_from(data)
        held = {message.id for message in self._held(token, messages)}
        assert claims.acknowledge(token, [message.id for message in messages]) == held
        for number in held:
            self.model.messages[number].acked = True

    @precondition(_some_claimed)
    @rule(data=st.data(), state=st.sampled_from(["STARTED", "PROGRESS"]))
    def report(self, data: st.DataObject, state: str) -> None:
        token, messages = self._take_from(data, most=1)
        for message in messages:
            meta = str(next(self.numbers))
            write(token, [Progress(message.id, message.task_id, "n", "a", state, meta, "application/json", 1.0, "w")])
            if self._held(token, [message]):
                self.model.end(message.task_id, state, meta)

    # -- leases

    @precondition(lambda self: self.living)
    @rule(data=st.data(), recoverer=st.booleans())
    def a_worker_dies_and_is_noticed(self, data: st.DataObject, recoverer: bool) -> None:
        token = data.draw(st.sampled_from(self.living), label="worker")
        self.living.remove(token)
        self.gone.append(token)
        given_back = self.model.give_back(token)
        if recoverer:
            beats = Worker.objects.using(self.alias).get(token=token).beats
            assert recover(token, beats) == given_back
            assert recover(token, beats) is None
        else:
            Worker.objects.using(self.alias).filter(token=token).delete()
            assert recover_orphans() == given_back
        assert not workers.heartbeat(token)

    @precondition(lambda self: self.living)
    @rule(data=st.data())
    def a_worker_that_beats_is_not_taken_for_dead(self, data: st.DataObject) -> None:
        token = data.draw(st.sampled_from(self.living), label="worker")
        beats = Worker.objects.using(self.alias).get(token=token).beats
        assert workers.heartbeat(token)
        assert recover(token, beats) is None
        assert recover_orphans() == 0

    @precondition(lambda self: self.living)
    @rule(data=st.data())
    def a_worker_leaves(self, data: st.DataObject) -> None:
        token = data.draw(st.sampled_from(self.living), label="worker")
        self.living.remove(token)
        self.gone.append(token)
        workers.deregister(token)
        self.model.give_back(token)

    # -- from outside

    @rule(chosen=some_ids, data=st.data(), terminate=st.sampled_from(["", "SIGTERM"]))
    def revoke(self, chosen: set[str], data: st.DataObject, terminate: str) -> None:
        ids = chosen
        if self.model.messages:
            # Mostly something that is there.
            known = sorted({message.task_id for message in self.model.messages.values()})
            ids = chosen | data.draw(st.sets(st.sampled_from(known), min_size=1, max_size=3), label="ids")
        assert revoke(sorted(ids), terminate) == self.model.revoke(ids, terminate or "revoke")

    @rule(state=st.sampled_from(sorted(states.READY_STATES)))
    def delete_old_rows(self, state: str) -> None:
        old = [task_id for task_id, run in self.model.runs.items() if run.state == state and run.old]
        assert expire(state, MONTH) == len(old)
        self._forget(set(old))

    @rule(ids=some_ids)
    def forget(self, ids: set[str]) -> None:
        busy = {m.task_id for m in self.model.messages.values()} | {m.task_id for m, _ in self.model.scheduled}
        ids = ids - busy
        ended = {task_id for task_id in ids & self.model.runs.keys() if self.model.runs[task_id].final}
        assert retention.forget(sorted(ids)) == len(ended)
        self._forget(ended)

    def _forget(self, ids: set[str]) -> None:
        for task_id in ids:
            self.model.runs.pop(task_id, None)
        self.model.attempts = [attempt for attempt in self.model.attempts if attempt[0] not in ids]

    # -- what must be true after each step

    @invariant()
    def messages_are_as_the_model_says(self) -> None:
        fields = ("task_id", "queue", "priority", "tracked", "token", "deliveries", "redelivered", "acked", "revoked")
        rows = {m.id: ModelMessage(*(getattr(m, f) for f in fields)) for m in Message.objects.using(self.alias).all()}
        assert rows == self.model.messages
        assert set(self.living) >= {message.token for message in rows.values()} - {""}

    @invariant()
    def scheduled_messages_are_as_the_model_says(self) -> None:
        rows = ScheduledMessage.objects.using(self.alias).values_list("task_id", "queue", "priority", "tracked")
        assert Counter(rows) == Counter((m.task_id, m.queue, m.priority, m.tracked) for m, _ in self.model.scheduled)

    @invariant()
    def runs_are_as_the_model_says(self) -> None:
        rows = {run.task_id: (run.state, run.result) for run in TaskRun.objects.using(self.alias).all()}
        known = {task_id: (run.state, run.result) for task_id, run in self.model.runs.items()}
        # The store words the ends that it gives itself, the model does not.
        for task_id, (state, result) in known.items():
            if result is None and state in states.READY_STATES and task_id in rows:
                known[task_id] = (state, rows[task_id][1])
        assert rows == known

    @invariant()
    def attempts_are_as_the_model_says(self) -> None:
        rows = Attempt.objects.using(self.alias).values_list("task_id", "state")
        assert Counter(rows) == Counter(self.model.attempts)

    @invariant()
    def every_living_worker_has_its_row(self) -> None:
        rows: Any = Worker.objects.using(self.alias).exclude(state="lost").values_list("token", flat=True)
        assert set(rows) == set(self.living)


@pytest.mark.chance
@pytest.mark.timeout(1200)
def test_store_holds_what_the_model_says_after_each_step(clean_database: Database) -> None:
    assert for_alias(clean_database.alias).alias == clean_database.alias
    examples = {"sqlite": 16, "postgresql": 8, "mariadb": 8}[clean_database.vendor] * (30 if FULL else 1)
    machine = type("StoreMachine", (StoreMachine,), {"database": clean_database})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=60 if FULL else 30,
            report_multiple_bugs=False,
            # Steps on a database are slow to shrink: what failed is printed as it was, or shrunk in a full run.
            phases=tuple(Phase) if FULL else (Phase.explicit, Phase.reuse, Phase.generate),
            suppress_health_check=list(HealthCheck),
        ),
    )
