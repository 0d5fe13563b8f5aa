"""What receivers of signals are given by a real worker, held against what ``taskq.signals`` says of it."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from taskq import AsyncResult, chain, chord, send_task, signals
from taskq.models import Message
from taskq.store.enqueue import enqueue
from tests.support import workers
from tests.support.envelopes import envelope
from tests.support.jobs import flows, tasks
from tests.support.processes import Processes
from tests.support.waiting import wait_until

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)

SOURCE = Path(signals.__file__).read_text()
#: Signals that this does not hear: one would take the log away, one is about taskq's own failures.
ELSEWHERE = {"setup_logging", "task_internal_error"}
NODE = "listening@here"


def documented() -> dict[str, set[str]]:
    """Return the arguments that the comment before each signal lists: its first sentence."""
    found: dict[str, set[str]] = {}
    for text, name in re.findall(r"((?:#: .*\n)+)(\w+) = TaskqSignal\(\)", SOURCE):
        sentence = re.sub(r"\([^)]*\)", "", text.replace("#: ", "")).partition(". ")[0]
        found[name] = set() if sentence == "No arguments" else {word.strip() for word in sentence.split(",")}
    return found


class Heard:
    """What the receivers have noted."""

    def __init__(self, path: Path) -> None:
        self.lines: list[dict[str, Any]] = [json.loads(line) for line in path.read_text().splitlines()]

    def of(self, signal: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["signal"] == signal]

    def senders(self, signal: str) -> set[str]:
        return {line["sender"] for line in self.of(signal)}

    def tasks(self, signal: str) -> Counter[str]:
        return Counter(line["task_id"] for line in self.of(signal))


@pytest.fixture
def followed() -> list[AsyncResult[Any]]:
    """Results of tasks that the worker sends itself; each once, but for the retried one."""
    return []


@pytest.fixture
def heard(alias: str, processes: Processes, notes: Path, followed: list[AsyncResult[Any]]) -> Heard:
    worker = workers.start_worker(processes, "-c", "1", "-n", NODE, environment={"TEST_SIGNALS": str(notes)})
    retried: AsyncResult[Any] = tasks.fail_twice.delay(str(notes.parent / "tries"))
    linked: Any = chain(flows.add.s(1, 1), flows.add.s(2))()
    counted: Any = chord([flows.add.s(1, 1), flows.add.s(2, 2)])(flows.total.s())
    followed += [retried, linked, counted]
    assert [result.get(timeout=20) for result in followed] == [2, 4, 6]
    flows.boom.apply_async(link_error=flows.total.s())
    flows.add.apply_async((1, 1), expires=-1)
    send_task("no.such.task")
    enqueue([envelope(headers={"not": "a task"})])
    wait_until(lambda: not Message.objects.using(alias).exists(), what="everything to be settled")
    assert worker.stop() == 0
    return Heard(notes)


def test_signal_receivers_get_the_documented_arguments(heard: Heard, followed: list[AsyncResult[Any]]) -> None:
    said = documented()
    assert set(said) == {name for name, value in vars(signals).items() if isinstance(value, signals.TaskqSignal)}
    assert set(said) - {line["signal"] for line in heard.lines} == ELSEWHERE
    for name in set(said) - ELSEWHERE:
        assert {tuple(line["arguments"]) for line in heard.of(name)} == {tuple(sorted(said[name]))}, name
    _check_senders(heard)
    _check_publishing(heard, followed)


def _check_senders(heard: Heard) -> None:
    for name in ("worker_starting", "worker_after_setup", "worker_ready", "worker_shutdown", "task_unknown"):
        assert heard.senders(name) == {NODE}
    for name in ("task_received", "before_task_publish"):
        assert flows.add.name in heard.senders(name)
    assert "no.such.task" in heard.senders("task_received")
    # Two of the chain, two of the chord, and the one that had expired. What a worker that is busy for long gives back
    # to others, and takes again as there are none, it receives anew.
    assert len(heard.tasks("received add")) == 5


def _check_publishing(heard: Heard, followed: list[AsyncResult[Any]]) -> None:
    before, after = (heard.tasks(name) for name in ("before_task_publish", "after_task_publish"))
    # What failed has an errback besides, of the kind that is sent.
    assert before == after
    assert before.total() == 5
    assert {result.id: before[result.id] for result in followed} == dict(
        zip([result.id for result in followed], (2, 1, 1), strict=True)
    )
    for name in ("before_task_publish", "after_task_publish"):
        assert {tuple(line["parts"]) for line in heard.of(name)} == {("list", "dict", "dict")}
