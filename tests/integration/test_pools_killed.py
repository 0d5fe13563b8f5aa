"""The prefork pool when processes are killed, freeze, or run out of time."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from taskq import signals
from taskq.worker.pools import child_processes, children, forked_pool
from tests.support.waiting import wait_until
from tests.unit.worker.pools.driver import Driver, alive, delivery, driving, server_pid

pytestmark = pytest.mark.faults


def test_task_that_kills_its_child_loses_no_delivery_beside_itself(tmp_path: Path):
    with driving() as driver:
        before, killer, after = delivery("pid"), delivery(f"touch:{tmp_path}/run crash:signal9"), delivery("pid")
        (slot,) = driver.pool.slots

        driver.pool.hand_over(slot, [before, killer, after])
        driver.until(lambda: driver.lost)

        (lost,) = driver.lost
        assert before.job in driver.outcomes
        assert (lost.started, lost.unstarted, lost.killed_for) == ([killer], [after], None)
        assert lost.reason == f"Worker exited prematurely: signal 9 (SIGKILL) Job: {killer.job}."
        driver.work_off([after])
        assert driver.outcomes[after.job].result != driver.outcomes[before.job].result


@pytest.mark.parametrize(
    ("crash", "words"),
    [
        ("signal24", "signal 24 (SIGXCPU)"),
        ("3", "exitcode 3"),
        ("exit4", "exitcode 4"),
        ("exit0", "exitcode 0"),
        ("interrupt", "exitcode 130"),
    ],
)
def test_lost_child_has_signal_or_exit_code_as_reason(crash: str, words: str):
    with driving() as driver:
        killer = delivery(f"crash:{crash}")

        driver.work_off([killer])

        assert driver.lost[0].reason == f"Worker exited prematurely: {words} Job: {killer.job}."
        driver.work_off([delivery("pid")])


def test_hard_limit_kills_the_child_and_returns_waiting_deliveries(tmp_path: Path):
    with driving() as driver:
        (slot,) = driver.pool.slots
        late = delivery(f"until:{tmp_path}/never", time_limit=0.1)
        behind = delivery("pid")

        driver.pool.hand_over(slot, [late, behind])
        driver.until(lambda: driver.lost)

        (lost,) = driver.lost
        assert (lost.started, lost.unstarted, lost.killed_for) == ([late], [], "time_limit")
        assert driver.returned == [behind]


def test_hard_limit_kills_a_frozen_child():
    with driving() as driver:
        (slot,) = driver.pool.slots
        old = slot.pid

        driver.work_off([delivery("freeze:", time_limit=0.2)])

        assert driver.lost[0].killed_for == "time_limit"
        driver.work_off([delivery("pid")])
        assert slot.pid != old


@pytest.mark.parametrize("limit", [None, 0.05])
def test_child_frozen_before_it_begins_is_replaced_and_its_deliveries_returned(
    limit: float | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(children, "_FROZEN_AFTER", 0.3)
    monkeypatch.setattr(child_processes, "_CHECK_INTERVAL", 0.05)
    with driving() as driver:
        (slot,) = driver.pool.slots
        frozen, work = slot.pid, [delivery("pid", time_limit=limit), delivery("pid")]
        assert frozen is not None
        os.kill(frozen, signal.SIGSTOP)

        driver.pool.hand_over(slot, work)
        driver.until(lambda: driver.returned)

        assert driver.returned == work
        assert "has begun nothing" in caplog.text
        # The next child may take its time.
        monkeypatch.undo()
        driver.until(lambda: slot.accepting and slot.pid != frozen)
        driver.work_off([delivery("pid")])
        assert driver.lost == []
        driver.until(lambda: not alive(frozen))


def test_child_with_a_long_task_is_not_taken_for_frozen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(child_processes, "_CHECK_INTERVAL", 0.02)
    with driving() as driver:
        (slot,) = driver.pool.slots
        work = [delivery(f"touch:{tmp_path}/began until:{tmp_path}/go"), delivery("pid")]
        driver.pool.hand_over(slot, work)
        driver.until((tmp_path / "began").exists)
        # From now on it is too late to begin, for as long as the first one runs.
        monkeypatch.setattr(children, "_FROZEN_AFTER", 0.05)
        driver.hub.call_later(0.3, (tmp_path / "go").touch)
        driver.hub.call_later(0.3, monkeypatch.undo)

        driver.answered(work)

        assert driver.returned == driver.lost == []


def test_pool_with_a_frozen_fork_server_can_be_killed(tmp_path: Path):
    with driving(concurrency=2) as driver:
        slot, other = driver.pool.slots
        pids = [slot.pid, other.pid, server_pid(driver)]
        running = delivery(f"touch:{tmp_path}/began until:{tmp_path}/never")
        driver.pool.hand_over(slot, [running])
        driver.until((tmp_path / "began").exists)

        os.kill(server_pid(driver), signal.SIGSTOP)
        driver.pool.kill()

        assert driver.pool.unfinished() == [(running, True)]
        wait_until(lambda: not any(alive(pid) for pid in pids if pid))


def test_terminate_kills_the_running_task_only(tmp_path: Path):
    with driving() as driver:
        (slot,) = driver.pool.slots
        running, behind = delivery(f"touch:{tmp_path}/began until:{tmp_path}/never"), delivery("pid")
        driver.pool.hand_over(slot, [running, behind])
        driver.until((tmp_path / "began").exists)

        assert not driver.pool.terminate(behind.job)
        assert not driver.pool.terminate(999_999)
        assert not driver.pool.terminate(running.job, "SIGNOTHING")
        assert driver.pool.terminate(running.job, "SIGTERM")
        driver.until(lambda: driver.lost)

        assert (driver.lost[0].started, driver.lost[0].killed_for) == ([running], "terminate:SIGTERM")
        assert "signal 15 (SIGTERM)" in driver.lost[0].reason
        assert driver.returned == [behind]
        driver.until(lambda: slot.accepting)
        driver.pool.hand_over(slot, driver.returned)
        driver.answered([behind])


def test_terminate_with_a_signal_that_the_task_handles_lets_it_end(tmp_path: Path):
    with driving() as driver:
        (slot,) = driver.pool.slots
        running = delivery(f"handle:{tmp_path}/handled touch:{tmp_path}/began until:{tmp_path}/handled pid")
        driver.pool.hand_over(slot, [running])
        driver.until((tmp_path / "began").exists)
        old = slot.pid

        assert driver.pool.terminate(running.job, "SIGTERM")
        driver.answered([running])
        driver.until(lambda: slot.accepting)

        assert driver.outcomes[running.job].result == str(old)
        assert slot.pid != old
        assert driver.lost == []


def test_terminate_kills_a_task_that_does_not_heed_the_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(children, "_GRACE", 0.05)
    with driving() as driver:
        (slot,) = driver.pool.slots
        deaf = delivery(f"touch:{tmp_path}/began freeze:")
        driver.pool.hand_over(slot, [deaf])
        driver.until((tmp_path / "began").exists)

        assert driver.pool.terminate(deaf.job, "SIGTERM")
        driver.until(lambda: driver.lost)

        assert (driver.lost[0].started, driver.lost[0].killed_for) == ([deaf], "terminate:SIGTERM")


def test_fork_server_survives_a_signal_for_a_child_that_has_just_died(tmp_path: Path):
    with driving() as driver:
        (slot,) = driver.pool.slots
        running = delivery(f"touch:{tmp_path}/began until:{tmp_path}/never")
        driver.pool.hand_over(slot, [running])
        driver.until((tmp_path / "began").exists)
        server, child = server_pid(driver), slot.pid
        assert child is not None

        os.kill(server, signal.SIGSTOP)
        os.kill(child, signal.SIGKILL)
        wait_until(lambda: not alive(child))
        driver.pool.terminate(running.job, "SIGTERM")
        os.kill(server, signal.SIGCONT)
        driver.until(lambda: driver.lost)

        assert driver.lost[0].started == [running]
        driver.work_off([delivery("pid")])
        assert driver.broken == []


@pytest.mark.parametrize("rest", ["", " until:/never"])
def test_task_that_closes_all_descriptors_loses_only_itself(rest: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(child_processes, "_CLOSED_TIMEOUT", 0.05)
    monkeypatch.setattr(child_processes, "_CHECK_INTERVAL", 0.05)
    with driving() as driver:
        closing, behind = delivery("close:" + rest), delivery("pid")
        (slot,) = driver.pool.slots

        driver.pool.hand_over(slot, [closing, behind])
        driver.until(lambda: driver.lost)

        assert (driver.lost[0].started, driver.lost[0].unstarted) == ([closing], [behind])
        driver.work_off([delivery("pid")])


def test_children_and_fork_server_ignore_signals_to_the_process_group(tmp_path: Path):
    with driving() as driver:
        (slot,) = driver.pool.slots
        running = delivery(f"touch:{tmp_path}/began until:{tmp_path}/go")
        driver.pool.hand_over(slot, [running])
        driver.until((tmp_path / "began").exists)

        for pid in (slot.pid, server_pid(driver)):
            assert pid is not None
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
                os.kill(pid, number)
        (tmp_path / "go").touch()

        driver.answered([running])


def test_killed_pool_lists_started_and_waiting_deliveries(tmp_path: Path):
    with driving(concurrency=2) as driver:
        slot, other = driver.pool.slots
        done, running, waiting = (
            delivery("pid"),
            delivery(f"touch:{tmp_path}/began until:{tmp_path}/x"),
            delivery("pid"),
        )
        driver.pool.hand_over(slot, [done, running, waiting])
        driver.until((tmp_path / "began").exists)
        pids = [slot.pid, other.pid, server_pid(driver)]

        driver.pool.kill()

        assert done.job in driver.outcomes
        assert driver.pool.unfinished() == [(running, True), (waiting, False)]
        assert driver.lost == []
        assert driver.broken == []
        wait_until(lambda: not any(alive(pid) for pid in pids if pid), what="all processes to be gone")


def test_pool_breaks_when_its_fork_server_is_killed(tmp_path: Path):
    with driving(concurrency=2) as driver:
        slot, other = driver.pool.slots
        pids = [slot.pid, other.pid]
        done, running, waiting = (
            delivery("pid"),
            delivery(f"touch:{tmp_path}/began until:{tmp_path}/x"),
            delivery("pid"),
        )
        driver.pool.hand_over(slot, [done, running, waiting])
        driver.until((tmp_path / "began").exists)

        os.kill(server_pid(driver), signal.SIGKILL)
        driver.until(lambda: driver.broken)

        assert "signal 9 (SIGKILL)" in driver.broken[0]
        assert done.job in driver.outcomes
        assert driver.pool.unfinished() == [(running, True), (waiting, False)]
        wait_until(lambda: not any(alive(pid) for pid in pids if pid))


def test_pool_breaks_when_its_fork_server_freezes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with driving() as driver:
        (slot,) = driver.pool.slots
        child = slot.pid
        running = delivery(f"touch:{tmp_path}/began until:{tmp_path}/never")
        driver.pool.hand_over(slot, [running])
        driver.until((tmp_path / "began").exists)

        os.kill(server_pid(driver), signal.SIGSTOP)
        # Not before: a fork server that works may be as slow as this on a busy machine.
        monkeypatch.setattr(forked_pool, "_PING_EVERY", 0.05)
        driver.until(lambda: driver.broken)

        assert "The fork server did not answer and was killed" in driver.broken[0]
        assert driver.pool.unfinished() == [(running, True)]
        wait_until(lambda: not alive(child or 0))


def test_main_process_that_was_frozen_does_not_take_its_fork_server_for_frozen(monkeypatch: pytest.MonkeyPatch):
    with driving() as driver:
        server = driver.pool._server.current  # type: ignore[attr-defined]
        for _ in range(3):
            driver.pool._ping()  # type: ignore[attr-defined]
            assert server.silent == 1
            driver.until(lambda: server.silent == 0)
        assert driver.broken == []


_PARENT = """
import sys, os
import django
django.setup()
from tests.unit.worker.pools.driver import delivery, driving
with driving(concurrency=2) as driver:
    path = sys.argv[1]
    for number, slot in enumerate(driver.pool.slots):
        driver.pool.hand_over(slot, [delivery(f"touch:{path}/child{number} until:{path}/never")])
    open(f"{path}/server", "w").write(str(driver.pool.info()["fork-server"]))
    driver.until(lambda: False, timeout=60)
"""


def test_fork_server_and_children_end_when_the_main_process_is_killed(tmp_path: Path):
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "testproject.settings"}
    parent = subprocess.Popen([sys.executable, "-c", _PARENT, str(tmp_path)], env=environment)
    names = ["server", "child0", "child1"]
    wait_until(lambda: all((tmp_path / name).exists() and (tmp_path / name).read_text() for name in names))
    pids = [int((tmp_path / name).read_text()) for name in names]
    assert all(alive(pid) for pid in pids)

    parent.kill()
    parent.wait()

    wait_until(lambda: not any(alive(pid) for pid in pids))


def test_children_that_die_at_once_are_forked_with_growing_delays(caplog: pytest.LogCaptureFixture):
    def die(**named: object) -> None:
        os._exit(7)

    signals.worker_process_init.connect(die)
    driver = Driver("prefork", 1)
    try:
        driver.pool.start()
        (slot,) = driver.pool.slots
        with caplog.at_level(logging.WARNING, "taskq.worker"):
            driver.until(lambda: "4 times in a row" in caplog.text)
        assert not slot.accepting
        assert "exitcode 7" in caplog.text
        assert "the next one comes in 0.40 s" in caplog.text
    finally:
        signals.worker_process_init.disconnect(die)
        driver.pool.kill()
        driver.hub.close()
