"""What receivers of signals are given by a real worker of each pool, held against what ``taskq.signals`` says of it.

Each receiver raises, after it has noted what it got.
"""

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
from tests.support.listening.apps import UNREADABLE
from tests.support.processes import Process, Processes
from tests.support.waiting import wait_until

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)

SOURCE = Path(signals.__file__).read_text()
NODE = "listening@here"
#: Each pool with the signals that its worker does not send. That of threads has its logging set up by a receiver.
POOLS = {
    "prefork": {"setup_logging"},
    "threads": {
        "after_setup_logger", "after_setup_task_logger",
        "worker_before_create_process", "worker_process_init", "worker_process_shutdown",
    },
    "solo": {"setup_logging", "worker_before_create_process"},
}  # fmt: skip
#: The apps without those whose tasks have time limits, which only prefork can keep.
APPS = "tests.support.jobs,tests.support.listening"
#: The signals whose sender is the worker, its lease, or the name of its node.
OF_THE_WORKER = (
    "worker_starting", "worker_after_setup", "worker_init", "worker_ready", "heartbeat_sent", "worker_shutting_down",
    "worker_shutdown", "worker_before_create_process", "worker_process_init", "worker_process_shutdown", "task_unknown",
    "task_rejected",
)  # fmt: skip
RAISED = "of a signal raised RuntimeError('the receiver of {} fails')"


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


@pytest.fixture(params=POOLS)
def pool(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def worker(alias: str, processes: Processes, notes: Path, pool: str) -> Process:
    environment = {"TEST_SIGNALS": str(notes), "TEST_SIGNALS_RAISE": "1", "TEST_APPS": APPS}
    if pool == "threads":
        environment["TEST_SIGNALS_LOGGING"] = "1"
    return workers.start_worker(processes, "-c", "1", "-P", pool, "-n", NODE, environment=environment)


@pytest.fixture
def heard(alias: str, worker: Process, notes: Path, followed: list[AsyncResult[Any]]) -> Heard:
    retried: AsyncResult[Any] = tasks.fail_twice.delay(str(notes.parent / "tries"))
    linked: Any = chain(flows.add.s(1, 1), flows.add.s(2))()
    counted: Any = chord([flows.add.s(1, 1), flows.add.s(2, 2)])(flows.total.s())
    followed += [retried, linked, counted]
    assert [result.get(timeout=60) for result in followed] == [2, 4, 6]
    flows.boom.apply_async(link_error=flows.total.s())
    flows.add.apply_async((1, 1), expires=-1)
    send_task("no.such.task")
    send_task(UNREADABLE)
    enqueue([envelope(headers={"not": "a task"})])
    wait_until(lambda: not Message.objects.using(alias).exists(), what="everything to be settled")
    assert worker.stop() == 0
    return Heard(notes)


def test_signal_receivers_get_the_documented_arguments_and_may_raise(
    heard: Heard, followed: list[AsyncResult[Any]], worker: Process, pool: str
) -> None:
    said = documented()
    assert set(said) == {name for name, value in vars(signals).items() if isinstance(value, signals.TaskqSignal)}
    assert set(said) - {line["signal"] for line in heard.lines} == POOLS[pool]
    for name in set(said) - POOLS[pool]:
        assert {tuple(line["arguments"]) for line in heard.of(name)} == {tuple(sorted(said[name]))}, name
    _check_senders(heard)
    _check_processes(heard, worker)
    _check_publishing(heard, followed)
    # import_modules comes before Django has set up any logging.
    unlogged = {name for name in set(said) - POOLS[pool] if RAISED.format(name) not in worker.log}
    assert unlogged <= {"import_modules", "worker_starting"}
    assert ("of the project" in worker.log) is (pool == "threads")


def _check_senders(heard: Heard) -> None:
    for name in OF_THE_WORKER:
        assert heard.senders(name) <= {NODE}, name
    assert heard.senders("import_modules") == {"taskq"}
    assert heard.senders("task_internal_error") == {UNREADABLE}
    for name in ("task_received", "before_task_publish"):
        assert flows.add.name in heard.senders(name)
    assert "no.such.task" in heard.senders("task_received")
    # Two of the chain, two of the chord, and the one that had expired. What a worker that is busy for long gives back
    # to others, and takes again as there are none, it receives anew.
    assert len(heard.tasks("received add")) == 5


def _check_processes(heard: Heard, worker: Process) -> None:
    def pids(signal: str) -> set[int]:
        return {line["pid"] for line in heard.of(signal)}

    children = pids("task_prerun")
    for name in ("worker_process_init", "worker_process_shutdown"):
        assert pids(name) in (set(), children), name
    for name in ("worker_starting", "worker_ready", "heartbeat_sent", "task_received", "worker_shutting_down"):
        assert pids(name) == {worker.pid}, name
    assert not pids("worker_before_create_process") & {worker.pid, *children}


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
