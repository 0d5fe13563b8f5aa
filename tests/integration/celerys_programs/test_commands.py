"""``celery status``, ``inspect``, ``control`` and ``events`` of an unmodified Celery 5.7, against a taskq worker."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from taskq import AsyncResult, control
from tests.support.celery_programs import Program
from tests.support.jobs import endings, flows, tasks
from tests.support.waiting import wait_until

from ..conftest import StartWorker
from .conftest import BROKERS, Shared
from .shapes import INSPECT, differences, dumped

SQUARE, ADD = endings.square.name, flows.add.name
#: Commands of which each round is given at once, and the replies of a Celery worker.
ROUNDS: list[dict[str, dict[str, str]]] = [
    {
        "enable_events": {"ok": "task events enabled"},
        "revoke x": {"ok": "tasks {'x'} flagged as revoked"},
        "terminate TERM y": {"ok": "terminate: tasks unknown"},
        "revoke_by_stamped_headers a=b": {"ok": "headers {'a': 'b'} flagged as revoked, but not terminated"},
        f"rate_limit {SQUARE} 5/m": {"ok": "new rate limit set successfully"},
        "rate_limit nosuch 5/m": {"error": "unknown task"},
        f"rate_limit {ADD} bogus": {
            "error": "Invalid rate limit string: ValueError(\"could not convert string to float: 'bogus'\")"
        },
        f"time_limit {SQUARE} 5 10": {"ok": "time limits set successfully"},
        "time_limit nosuch 5": {"error": "unknown task"},
        "add_consumer foo": {"ok": "add consumer foo"},
        "pool_grow": {"ok": "pool will grow"},
        "autoscale 3 1": {"error": "ValueError('Autoscale not enabled')"},
        "pool_restart": {"error": "ValueError('Pool restarts not enabled')"},
    },
    {
        "enable_events": {"ok": "task events already enabled"},
        "add_consumer foo foo direct foo": {"ok": "add consumer foo"},
        "pool_grow 2": {"ok": "pool will grow"},
    },
    {
        "disable_events": {"ok": "task events disabled"},
        "cancel_consumer foo": {"ok": "no longer consuming from foo"},
        "pool_shrink 3": {"ok": "pool will shrink"},
    },
    {"disable_events": {"ok": "task events already disabled"}},
]


class Celery:
    """The program of Celery that asks one node."""

    def __init__(self, shared: Shared) -> None:
        self._programs, self.node = shared.programs, shared.node

    def say(self, *words: str) -> str:
        """Return what a command prints."""
        return self._programs.run(*words, "-d", self.node, "-t", "60")

    def ask(self, kind: str, commands: Iterable[str]) -> dict[str, Any]:
        """Give commands at once, and return the one reply to each."""
        started = {
            each: self._programs.start(kind, *each.split(), "-d", self.node, "-t", "60", "-j") for each in commands
        }
        return {each: self._reply(program) for each, program in started.items()}

    def has_status(self) -> bool:
        """Tell whether the node is among all those that answer to nobody in particular within a second."""
        program = self._programs.start("status")
        return program.wait() == 0 and f"->  {self.node}: OK\n" in program.log

    def _reply(self, program: Program) -> Any:
        assert program.wait() == 0, program.log
        found = json.loads(program.log.splitlines()[-1])
        (replies,) = found if isinstance(found, list) else [found]
        assert list(replies) == [self.node]
        return replies[self.node]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("shared", [("redis", True), ("rabbitmq", True)], ids=BROKERS, indirect=True)
def test_celerys_own_commands(start_worker: StartWorker, shared: Shared, notes: Path, go_on: Path) -> None:
    worker = start_worker("-n", shared.node, "--prefetch-multiplier", "4", **shared.settings)
    celery = Celery(shared)
    # It asks for heartbeats when it begins, so that it hears all that comes later.
    dump = shared.programs.start("events", "--dump")
    dump.wait_for_log(dumped("heartbeat", shared.node))
    wait_until(celery.has_status, what="an answer within a second")
    for commands in ROUNDS:
        assert celery.ask("control", commands) == commands
    assert celery.ask("control", ["heartbeat"]) == {"heartbeat": None}
    assert celery.say("control", "enable_events") == f"->  {shared.node}: OK\n        task events enabled\n"
    check_inspect(celery, notes, go_on)
    check_events(dump, celery, notes)
    # It has no reply.
    shared.programs.run("control", "shutdown", "-d", shared.node, "-t", "0.2", status=69)
    assert worker.wait() == 0
    dump.wait_for_log(dumped("shutdown", shared.node))
    assert shared.programs.run("status", "-d", shared.node, "-t", "0.2", status=69).startswith("Error: No nodes")
    assert dump.stop(signal.SIGINT) == 0


def check_inspect(celery: Celery, notes: Path, go_on: Path) -> None:
    active, reserved = (endings.wait_for_file.delay(str(notes), str(go_on)).id for _ in range(2))
    scheduled = endings.square.apply_async((3,), countdown=3600).id
    wait_until(lambda: notes.read_text() and control.inspect(celery.node, timeout=60).reserved(), what="both tasks")
    query = f"query_task {active} {reserved} {scheduled} unknown"
    replies = celery.ask("inspect", [*INSPECT.keys() - {"query_task"}, query])
    replies["query_task"] = replies.pop(query)
    assert [each for name, shape in INSPECT.items() for each in differences(replies[name], shape, name)] == []
    assert [each["id"] for each in replies["active"]] == [active]
    assert replies["active"][0]["worker_pid"] in replies["stats"]["pool"]["processes"]
    assert [each["id"] for each in replies["reserved"]] == [reserved]
    assert [each["request"]["id"] for each in replies["scheduled"]] == [scheduled]
    assert replies["revoked"] == ["x", "y"]
    assert f"{SQUARE} [rate_limit=5/m]" in replies["registered"]
    found = {task_id: (state, info["id"]) for task_id, (state, info) in replies["query_task"].items()}
    states = {active: "active", reserved: "reserved", scheduled: "scheduled"}
    assert found == {task_id: (state, task_id) for task_id, state in states.items()}
    assert celery.say("inspect", "query_task", "unknown") == f"->  {celery.node}: OK\n    {{}}\n\n1 node online.\n"
    # First those that wait: one of them would begin in place of the task that is ended, and then it runs on.
    for command in (f"revoke {reserved}", f"revoke {scheduled}"):
        assert celery.ask("control", [command]) == {command: {"ok": f"tasks {{'{command[7:]}'}} flagged as revoked"}}
    command = f"terminate KILL {active}"
    assert celery.ask("control", [command]) == {command: {"ok": f"terminate: {active}"}}
    for task_id in states:
        wait_until(lambda each=task_id: AsyncResult(each).state == "REVOKED", what=f"{states[task_id]} to be revoked")
    empty = f"->  {celery.node}: OK\n    - empty -\n\n1 node online.\n"
    wait_until(lambda: celery.say("inspect", "active") == empty, what="no running task")


def check_events(dump: Program, celery: Celery, notes: Path) -> None:
    def printed(kind: str, sent: AsyncResult[Any], task: str, **fields: str) -> None:
        match = dump.wait_for_log(dumped(kind, celery.node, rf"{re.escape(task)}\({sent.id}\) args=.* kwargs={{}}"))
        assert {name: match[name] for name in fields} == fields

    bad, name = endings.fail_with.delay("no"), endings.fail_with.name
    printed("task received", bad, name, retries="0", root_id=bad.id, parent_id="None", eta="None", expires="None")
    printed("task started", bad, name)
    printed("task failed", bad, name, exception="ValueError('no')")
    notes.write_text("")
    good, name = tasks.fail_twice.delay(str(notes)), tasks.fail_twice.name
    printed("task retried", good, name, exception="ValueError('not yet')")
    printed("task succeeded", good, name, result="2")
