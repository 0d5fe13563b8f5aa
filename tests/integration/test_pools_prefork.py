"""The prefork pool with real processes: what is handed over, taken back, too big, replaced."""

from __future__ import annotations

import gc
import os
import signal
import threading
from pathlib import Path

import pytest
from django.db import connection

from taskq import signals
from taskq.execution import isolation
from taskq.handover import Delivery, Outcome
from taskq.worker.pools.base import ReportFn
from tests.support.waiting import wait_until
from tests.unit.worker.pools.driver import alive, deliveries, delivery, driving, obey, open_files, server_pid

pytestmark = pytest.mark.faults


def test_prefork_pool_runs_batches_in_order_on_all_children():
    with driving(concurrency=2) as driver:
        work = [delivery("pid") for _ in range(60)]

        driver.work_off(work)

        assert list(driver.outcomes) != []
        pids = {str(slot.pid) for slot in driver.pool.slots}
        assert {outcome.result for outcome in driver.outcomes.values()} <= pids
        for slot in driver.pool.slots:
            mine = [job for job, outcome in driver.outcomes.items() if outcome.result == str(slot.pid)]
            assert mine == sorted(mine)
            assert (slot.in_flight, slot.idle, slot.busy_since) == (0, True, None)
        writes = driver.pool.info()["writes"]
        assert (writes["total"], sum(map(int, writes["raw"].split(", ")))) == (60, 60)
        assert (writes["avg"], writes["inqueues"]) == ("0.50", {"total": 2, "active": 0})


def test_frozen_child_blocks_no_other_and_its_deliveries_are_taken_back(tmp_path: Path):
    with driving(concurrency=2) as driver:
        frozen, free = driver.pool.slots
        assert frozen.pid is not None
        os.kill(frozen.pid, signal.SIGSTOP)
        # More than its socket takes.
        stuck = deliveries(3, "skip:" + "x" * 500_000)

        driver.pool.hand_over(frozen, stuck)
        other = delivery("pid")
        driver.pool.hand_over(free, [other])
        driver.answered([other])

        assert driver.pool.take_back(frozen) == stuck
        os.kill(frozen.pid, signal.SIGCONT)
        last = delivery("pid")
        driver.pool.hand_over(frozen, [last])
        driver.answered([last])
        assert driver.outcomes[last.job].result == str(frozen.pid)


def test_program_started_by_a_task_can_be_terminated():
    with driving() as driver:
        starter = delivery("program:")

        driver.work_off([starter])

        assert driver.outcomes[starter.job].result == str(-signal.SIGTERM)


def test_deliveries_beyond_max_tasks_per_child_are_returned():
    with driving(max_tasks_per_child=2) as driver:
        (slot,) = driver.pool.slots
        work = deliveries(5, "pid")

        driver.pool.hand_over(slot, work)
        driver.until(lambda: driver.returned)

        assert driver.returned == work[2:]
        driver.answered(work[:2])


def test_child_that_can_not_be_made_clean_is_replaced():
    with driving() as driver:
        (slot,) = driver.pool.slots
        spoiling, behind = delivery("spoil: pid"), delivery("pid")
        driver.pool.hand_over(slot, [spoiling, behind])
        driver.until(lambda: driver.returned)

        assert driver.returned == [behind]
        driver.work_off([driver.returned.pop()])
        assert driver.outcomes[behind.job].result != driver.outcomes[spoiling.job].result
        assert driver.lost == []


def test_child_has_no_descriptors_of_other_children():
    inherited = open_files()
    with driving(concurrency=3) as driver:
        work = [delivery("fds") for _ in driver.pool.slots]
        for slot, one in zip(driver.pool.slots, work, strict=True):
            driver.pool.hand_over(slot, [one])
        driver.answered(work)

        opened = [
            {name for name in str(driver.outcomes[one.job].result).split() if name.startswith(("socket:", "pipe:"))}
            - inherited
            for one in work
        ]
        # Its end of the socket pair, the ends of the pipes for permits and orders from which it reads, and both ends
        # of the pipe of questions where its task is.
        kinds = [sorted(name.partition(":")[0] for name in names) for names in opened]
        assert kinds == [["pipe", "pipe", "pipe", "socket"]] * len(work)
        assert not set.intersection(*opened)


def test_descriptors_do_not_leak_with_children():
    def rest() -> None:
        # The child before may end a moment later than the next one comes up.
        driver.until(lambda: slot.accepting and slot.ending is None)  # type: ignore[attr-defined]

    with driving(max_tasks_per_child=1) as driver:
        (slot,) = driver.pool.slots
        driver.work_off([delivery("pid")])
        rest()
        # What other tests left to be collected may not be closed in between.
        gc.collect()
        before = len(os.listdir("/proc/self/fd"))

        driver.work_off([delivery("pid") for _ in range(5)])
        rest()

        assert len(os.listdir("/proc/self/fd")) == before


def test_child_soon_collects_garbage_that_has_grown_old():
    with driving() as driver:
        work = delivery("garbage:")

        driver.work_off([work])

        assert driver.outcomes[work.job].result == "taken"


@pytest.mark.django_db(transaction=True)
def test_connections_are_closed_before_the_fork():
    connection.ensure_connection()

    with driving() as driver:
        assert connection.connection is None
        driver.work_off([delivery("pid")])
        connection.ensure_connection()


def test_printed_output_of_tasks_reaches_stdout(capfd: pytest.CaptureFixture[str]):
    with driving() as driver:
        driver.work_off([delivery("print:hello")])

    assert "hello\n" in capfd.readouterr().out


def test_process_signals_are_sent_in_fork_server_and_child(tmp_path: Path):
    def note(signal: object, **named: object) -> None:
        kind = next(name for name, value in vars(signals).items() if value is signal)
        (tmp_path / kind).write_text(f"{os.getpid()} {named.get('pid')} {named.get('exitcode')}")

    heard = (signals.worker_before_create_process, signals.worker_process_init, signals.worker_process_shutdown)
    for one in heard:
        one.connect(note)
    try:
        with driving() as driver:
            child = driver.pool.slots[0].pid
            server = server_pid(driver)
            driver.pool.stop()
    finally:
        for one in heard:
            one.disconnect(note)

    assert (tmp_path / "worker_before_create_process").read_text().startswith(f"{server} ")
    assert (tmp_path / "worker_process_init").read_text().startswith(f"{child} ")
    assert (tmp_path / "worker_process_shutdown").read_text() == f"{child} {child} 0"


def test_threads_running_at_the_fork_are_warned_of(caplog: pytest.LogCaptureFixture):
    go = threading.Event()
    thread = threading.Thread(target=go.wait, name="an-app-s-thread")
    thread.start()
    try:
        with driving() as driver:
            driver.work_off([delivery("pid")])
    finally:
        go.set()
        thread.join()

    assert "an-app-s-thread" in caplog.text
    assert "worker_process_init" in caplog.text


def test_slot_takes_its_next_child_while_the_last_one_ends(tmp_path: Path):
    def linger(**named: object) -> None:
        obey(delivery(f"until:{tmp_path}/{os.getpid()}"), lambda report: None)

    signals.worker_process_shutdown.connect(linger)
    try:
        with driving(max_tasks_per_child=1) as driver:
            (slot,) = driver.pool.slots
            first, second, third = deliveries(3, "pid")
            driver.work_off([first, second])
            old, last = (int(str(driver.outcomes[one.job].result)) for one in (first, second))

            # At most one child ends beside the slot: for the other, which ends too, the slot waits.
            assert alive(old)
            assert (slot.pid, slot.accepting) == (last, False)
            (tmp_path / str(old)).touch()
            driver.work_off([third])

            assert alive(last)
            assert driver.lost == []
    finally:
        signals.worker_process_shutdown.disconnect(linger)


def test_child_that_ends_beside_its_slot_is_killed_with_the_pool():
    def linger(**named: object) -> None:
        obey(delivery("until:/never"), lambda report: None)

    signals.worker_process_shutdown.connect(linger)
    try:
        with driving(max_tasks_per_child=1) as driver:
            work = deliveries(2, "pid")
            driver.work_off(work)
            pids = [int(str(driver.outcomes[one.job].result)) for one in work]
            assert all(alive(pid) for pid in pids)

            driver.pool.stop(timeout=0.1)

            wait_until(lambda: not any(alive(pid) for pid in pids), what="both children to be gone")
            assert driver.pool.unfinished() == driver.lost == driver.broken == []
    finally:
        signals.worker_process_shutdown.disconnect(linger)


@pytest.mark.parametrize(("limit", "restores"), [(None, True), (2, True), (1, False)])
def test_child_of_a_single_task_compares_no_states(limit: int | None, restores: bool):
    def run(received: Delivery, report: ReportFn) -> Outcome:
        states = isolation._thread.baseline._reads
        return Outcome(received.job, received.task_id, "SUCCESS", str(bool(states)))

    with driving(run=run, max_tasks_per_child=limit) as driver:
        work = delivery()

        driver.work_off([work])

        assert driver.outcomes[work.job].result == str(restores)
