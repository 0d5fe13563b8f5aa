"""How a worker ends: what runs, what waits, its exit status, and its processes."""

from __future__ import annotations

import os
import pty
import re
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from taskq import AsyncResult
from taskq.models import Message, Statistic, Worker
from tests.support import trees
from tests.support.jobs import endings, tasks
from tests.support.processes import Process, Processes
from tests.support.waiting import wait_until
from tests.support.workers import worker_rows

from .conftest import StartWorker

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


class Busy:
    """A worker with one child, one task that runs, and two that wait, of which it holds some."""

    def __init__(self, alias: str, worker: Process, notes: Path, go_on: Path) -> None:
        self.alias, self.worker, self.go_on = alias, worker, go_on
        self.running: AsyncResult[str] = endings.wait_for_file.delay(str(notes), str(go_on))
        wait_until(notes.read_text, what="the task to start")
        self.tree = trees.tree(worker.pid)
        self.waiting = [tasks.note.delay(str(notes), n) for n in range(2)]

    def assert_gone(self) -> None:
        """Nothing of the worker is left: no process, no row, no claim."""
        wait_until(lambda: not any(trees.alive(pid) for pid in self.tree), what="its processes to be gone")
        assert not Worker.objects.using(self.alias).exists()
        assert not Message.objects.using(self.alias).exclude(token="").exists()

    def assert_put_back(self, *results: AsyncResult[Any]) -> None:
        """These wait as if they had never been taken."""
        messages = Message.objects.using(self.alias).filter(task_id__in=[r.id for r in results], token="")
        assert [m.deliveries for m in messages] == [0] * len(results)
        assert {result.state for result in results} == {"PENDING"}


@pytest.fixture
def busy(alias: str, start_worker: StartWorker, notes: Path, go_on: Path) -> Any:
    def make(*options: str, **settings: Any) -> Busy:
        return Busy(alias, start_worker("--prefetch-multiplier", "2", *options, **settings), notes, go_on)

    return make


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_warm_shutdown_finishes_the_running_task_and_requeues_the_rest(busy: Any, number: signal.Signals) -> None:
    b = busy()
    b.worker.send(number)
    b.worker.wait_for_log(rf"Warm shutdown \({number.name}\): 1 task is running")
    wait_until(lambda: not Message.objects.using(b.alias).filter(name__endswith="note").exclude(token="").exists())
    if number == signal.SIGTERM:
        b.worker.send(number)  # a second TERM changes nothing
    b.go_on.touch()
    assert b.worker.wait() == 0
    assert b.running.get(timeout=1) == "done"
    b.assert_put_back(*b.waiting)
    counted = Statistic.objects.using(b.alias).filter(name=b.running.name)
    assert [(row.seconds, row.succeeded) for row in counted.order_by("seconds")] == [(60, 1), (3600, 1)]
    b.assert_gone()


def test_idle_worker_stops_with_all_its_processes(alias: str, start_worker: StartWorker) -> None:
    worker = start_worker()
    everything = trees.whole(worker.pid, 3)  # with the fork server and a child
    assert worker.stop() == 0
    wait_until(lambda: not any(trees.alive(pid) for pid in everything), what="its processes to be gone")
    assert not Worker.objects.using(alias).exists()


def test_idle_worker_with_a_frozen_fork_server_stops(alias: str, start_worker: StartWorker) -> None:
    worker = start_worker()
    everything = trees.whole(worker.pid, 3)  # with the fork server and a child
    os.kill(everything[1], signal.SIGSTOP)
    assert worker.stop() == 0
    wait_until(lambda: not any(trees.alive(pid) for pid in everything), what="its processes to be gone")


def test_task_beyond_the_shutdown_timeout_is_requeued_uncounted(busy: Any) -> None:
    b = busy(SHUTDOWN_TIMEOUT=0.3)
    b.worker.stop()
    assert "TASKQ_SHUTDOWN_TIMEOUT is over" in b.worker.log
    b.assert_put_back(b.running, *b.waiting)
    b.assert_gone()


def test_second_sigint_is_a_cold_shutdown(busy: Any) -> None:
    b = busy()
    b.worker.send(signal.SIGINT)
    b.worker.wait_for_log("Warm shutdown .* Ctrl-C again ends without waiting")
    b.worker.send(signal.SIGINT)
    assert b.worker.wait() == 1
    b.assert_put_back(b.running, *b.waiting)
    b.assert_gone()


@pytest.mark.parametrize("pool", ["threads", "solo"])
def test_cold_shutdown_by_a_second_sigint_waits_for_no_thread(busy: Any, pool: str) -> None:
    # The task itself never ends: whoever waits for it waits for longer than this test.
    b = busy("-P", pool, environment={"TEST_APPS": "tests.support.jobs"}, SHUTDOWN_TIMEOUT=600.0)
    b.worker.send(signal.SIGINT)
    b.worker.wait_for_log("Warm shutdown")
    b.worker.send(signal.SIGINT)
    assert b.worker.wait() == 1
    assert re.search(r"Cold shutdown \(SIGINT\): 1 task is running", b.worker.log)
    b.assert_put_back(b.running, *b.waiting)
    b.assert_gone()


def test_sigquit_is_a_cold_shutdown(busy: Any) -> None:
    b = busy()
    assert b.worker.stop(signal.SIGQUIT) == 1
    assert "Cold shutdown (SIGQUIT)" in b.worker.log
    b.assert_put_back(b.running, *b.waiting)
    b.assert_gone()


def test_sigterm_remapped_to_sigquit_is_a_cold_shutdown(busy: Any) -> None:
    b = busy(environment={"REMAP_SIGTERM": "SIGQUIT"})
    assert b.worker.stop(signal.SIGTERM) == 1
    b.assert_put_back(b.running, *b.waiting)


def test_soft_shutdown_lets_a_task_end_in_time(busy: Any) -> None:
    b = busy(SOFT_SHUTDOWN_TIMEOUT=30)
    b.worker.send(signal.SIGQUIT)
    b.worker.wait_for_log("Soft shutdown")
    b.go_on.touch()
    assert b.worker.wait() == 0
    assert b.running.get(timeout=1) == "done"
    b.assert_put_back(*b.waiting)


def test_soft_shutdown_becomes_cold_after_its_timeout(busy: Any) -> None:
    b = busy(SOFT_SHUTDOWN_TIMEOUT=0.3)
    assert b.worker.stop(signal.SIGQUIT) == 1
    b.assert_put_back(b.running, *b.waiting)
    b.assert_gone()


def test_early_ack_task_that_runs_at_a_cold_shutdown_fails_and_is_not_requeued(
    alias: str, start_worker: StartWorker, notes: Path
) -> None:
    worker = start_worker()
    result = tasks.nap_early_acked.delay(str(notes), 60)
    wait_until(notes.read_text, what="the task to start")
    assert worker.stop(signal.SIGQUIT) == 1
    assert type(result.result).__name__ == "WorkerLostError"
    assert not Message.objects.using(alias).exists()


def test_sigterm_to_the_process_group_is_a_warm_shutdown(busy: Any) -> None:
    b = busy()
    os.killpg(b.worker.pid, signal.SIGTERM)
    b.worker.wait_for_log("Warm shutdown")
    b.go_on.touch()
    assert b.worker.wait() == 0
    assert b.running.get(timeout=1) == "done"
    b.assert_put_back(*b.waiting)


def test_sigint_to_the_process_group_is_a_warm_shutdown(busy: Any) -> None:
    b = busy()
    os.killpg(b.worker.pid, signal.SIGINT)
    b.worker.wait_for_log("Warm shutdown")
    b.go_on.touch()
    assert b.worker.wait() == 0
    assert b.running.get(timeout=1) == "done"
    assert "KeyboardInterrupt" not in b.worker.log


def test_sighup_restarts_the_worker_with_the_same_pid(busy: Any, alias: str) -> None:
    b = busy()
    b.worker.send(signal.SIGHUP)
    b.worker.wait_for_log("Warm shutdown")
    b.go_on.touch()
    assert b.running.get(timeout=60) == "done"
    assert [result.get(timeout=60) for result in b.waiting] == [0, 1]
    wait_until(lambda: b.worker.log.count(" ready.\n") == 2, what="the worker to be ready again")
    (row,) = worker_rows(alias)
    assert row.pid == b.worker.pid
    assert b.worker.stop() == 0


@pytest.mark.parametrize(
    ("first", "second", "status"),
    [("HUP", "TERM", 0), ("TERM", "HUP", 0), ("HUP", "INT", 0), ("HUP", "QUIT", 1)],
)
def test_stop_signal_before_or_after_sighup_stops_the_worker(busy: Any, first: str, second: str, status: int) -> None:
    b = busy()
    b.worker.send(signal.Signals[f"SIG{first}"])
    b.worker.wait_for_log(f"Warm shutdown .SIG{first}.")
    b.worker.send(signal.Signals[f"SIG{second}"])
    if status == 0:
        b.go_on.touch()
    assert b.worker.wait() == status
    assert b.worker.log.count(" ready.\n") == 1
    b.assert_put_back(*b.waiting)
    b.assert_gone()


def test_sighup_in_a_terminal_stops_the_worker(busy: Any, processes: Processes) -> None:
    terminal, processes.stdin = pty.openpty()
    b = busy()
    b.worker.send(signal.SIGHUP)
    b.worker.wait_for_log("Warm shutdown .SIGHUP.")
    b.go_on.touch()
    assert b.worker.wait() == 0
    assert b.worker.log.count(" ready.\n") == 1
    os.close(terminal)
    os.close(processes.stdin)


def test_sighup_is_ignored_under_nohup(busy: Any, processes: Processes) -> None:
    processes.program = ("nohup", *processes.program)
    b = busy()
    b.worker.send(signal.SIGHUP)
    b.go_on.touch()
    assert b.running.get(timeout=60) == "done"
    assert b.waiting[-1].get(timeout=60) == 1
    assert "shutdown" not in b.worker.log
    assert b.worker.stop() == 0


def test_sighup_restart_keeps_the_command_line(busy: Any, processes: Processes) -> None:
    """As a module, a second HUP too, and with Python's own options."""
    processes.program = (sys.executable, "-X", "utf8", "-W", "ignore", "-m", "django")
    b = busy()
    line = Path(f"/proc/{b.worker.pid}/cmdline").read_bytes()
    b.go_on.touch()
    for starts in (2, 3):
        b.worker.send(signal.SIGHUP)
        wait_until(lambda n=starts: b.worker.log.count(" ready.\n") == n, what="the worker to be ready again")  # type: ignore[misc]
    assert Path(f"/proc/{b.worker.pid}/cmdline").read_bytes() == line
    assert endings.environ.delay("TASKQ_STARTED_AS").get(timeout=60) is None
    assert b.worker.stop() == 0


def test_sigusr1_logs_stacks_and_the_worker_goes_on(alias: str, start_worker: StartWorker) -> None:
    worker = start_worker()
    worker.send(signal.SIGUSR1)
    worker.wait_for_log(r'^  File ".*node\.py", line \d+ in run$')
    assert endings.square.delay(3).get(timeout=60) == 9
    assert worker.stop() == 0


def test_sigterm_during_startup_stops_the_worker(alias: str, start_worker: StartWorker) -> None:
    worker = start_worker(ready=False)
    worker.wait_for_log(r"\[queues\]")
    worker.stop()
    assert not Worker.objects.using(alias).exists()
