"""The prefork pool with real processes: what is killed, frozen, too big, taken back or replaced."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from django.db import connection

from taskq import signals
from taskq.worker.pools import children
from tests.support.waiting import wait_until
from tests.unit.worker.pools.driver import Driver, deliveries, delivery, driving, open_files

pytestmark = pytest.mark.faults


def alive(pid: int) -> bool:
    """Tell whether a process exists that is not just waiting to be reaped."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def server_pid(driver: Driver) -> int:
    return int(driver.pool.info()["fork-server"])


def test_runs_batches_in_order_and_uses_all_children():
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


def test_stop_leaves_no_process():
    with driving(concurrency=2) as driver:
        pids = [slot.pid for slot in driver.pool.slots] + [server_pid(driver)]

        driver.pool.stop()

        assert not any(alive(pid) for pid in pids if pid)
        assert driver.lost == []
        assert driver.broken == []


def test_a_task_that_kills_its_child_takes_no_neighbour_with_it(tmp_path: Path):
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
    [("signal24", "signal 24 (SIGXCPU)"), ("3", "exitcode 3"), ("exit4", "exitcode 4"), ("exit0", "exitcode 0")],
)
def test_says_how_a_child_ended(crash: str, words: str):
    with driving() as driver:
        killer = delivery(f"crash:{crash}")

        driver.work_off([killer])

        assert driver.lost[0].reason == f"Worker exited prematurely: {words} Job: {killer.job}."
        driver.work_off([delivery("pid")])


def test_an_idle_child_that_is_killed_is_replaced():
    with driving() as driver:
        (slot,) = driver.pool.slots
        old = slot.pid
        assert old is not None

        os.kill(old, signal.SIGKILL)
        driver.until(lambda: slot.pid != old and slot.accepting)

        assert driver.lost[0].started == driver.lost[0].unstarted == []
        driver.work_off([delivery("pid")])


def test_an_error_in_what_runs_tasks_is_a_failure_of_that_task(caplog: pytest.LogCaptureFixture):
    with driving() as driver:
        broken, odd, sound = delivery("crash:error"), delivery("odd"), delivery("pid")

        driver.work_off([broken, odd, sound])

        assert [driver.outcomes[one.job].state for one in (broken, odd, sound)] == ["FAILURE", "FAILURE", "SUCCESS"]
        assert "a fault of the runner" in str(driver.outcomes[broken.job].result)
        assert driver.lost == []


def test_large_payloads_go_both_ways():
    with driving() as driver:
        size = 10_000_000
        large = delivery(f"skip:{'x' * size} big:{size}")
        small = delivery("pid")
        (slot,) = driver.pool.slots

        driver.pool.hand_over(slot, [large])
        driver.pool.hand_over(slot, [small])
        driver.answered([large, small])

        assert driver.outcomes[large.job].result == "x" * size


def test_takes_back_what_has_not_started(tmp_path: Path):
    with driving() as driver:
        (slot,) = driver.pool.slots
        running = delivery(f"touch:{tmp_path}/began until:{tmp_path}/go")
        waiting = deliveries(5, f"touch:{tmp_path}/never")
        driver.pool.hand_over(slot, [running, *waiting])
        driver.until((tmp_path / "began").exists)

        assert driver.pool.take_back(slot, 2) == waiting[3:]
        assert driver.pool.take_back(slot) == waiting[:3]
        assert driver.pool.take_back(slot) == []
        again = delivery("pid")
        driver.pool.hand_over(slot, [again])
        assert driver.pool.unfinished() == [(running, True), (again, False)]
        (tmp_path / "go").touch()
        driver.answered([running, again])

        assert set(driver.outcomes) == {running.job, again.job}
        assert not (tmp_path / "never").exists()


def test_reports_come_before_the_outcome():
    with driving() as driver:
        reporting = delivery("report:50 report:60")

        driver.work_off([reporting])

        assert [report.meta for report in driver.reports] == ["50", "60"]
        assert {report.job for report in driver.reports} == {reporting.job}


def test_a_frozen_child_blocks_nobody_and_its_waiting_work_is_taken_back(tmp_path: Path):
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


def test_hard_limit_kills_the_child_and_returns_what_waits(tmp_path: Path):
    with driving() as driver:
        (slot,) = driver.pool.slots
        late = delivery(f"until:{tmp_path}/never", time_limit=0.1)
        behind = delivery("pid")

        driver.pool.hand_over(slot, [late, behind])
        driver.until(lambda: driver.lost)

        (lost,) = driver.lost
        assert (lost.started, lost.unstarted, lost.killed_for) == ([late], [], "time_limit")
        assert driver.returned == [behind]


def test_hard_limit_leaves_alone_what_is_in_time():
    with driving() as driver:
        work = [delivery("pid", time_limit=30.0 - number) for number in range(20)]

        driver.work_off(work)

        assert driver.lost == []
        assert len(driver.hub.timer._queue) < 20


def test_terminate_ends_what_surely_runs_now(tmp_path: Path):
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


def test_terminate_with_a_signal_that_the_task_handles(tmp_path: Path):
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


def test_terminate_kills_what_does_not_heed_the_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(children, "_GRACE", 0.05)
    with driving() as driver:
        (slot,) = driver.pool.slots
        deaf = delivery(f"touch:{tmp_path}/began freeze:")
        driver.pool.hand_over(slot, [deaf])
        driver.until((tmp_path / "began").exists)

        assert driver.pool.terminate(deaf.job, "SIGTERM")
        driver.until(lambda: driver.lost)

        assert (driver.lost[0].started, driver.lost[0].killed_for) == ([deaf], "terminate:SIGTERM")


def test_the_fork_server_survives_a_signal_for_a_child_that_has_just_died(tmp_path: Path):
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


def test_programs_that_a_task_starts_can_be_ended():
    with driving() as driver:
        starter = delivery("program:")

        driver.work_off([starter])

        assert driver.outcomes[starter.job].result == str(-signal.SIGTERM)


@pytest.mark.parametrize("rest", ["", " until:/never"])
def test_a_task_that_closes_all_descriptors_loses_only_itself(rest: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(children, "_CLOSED_FOR", 0.05)
    with driving() as driver:
        closing, behind = delivery("close:" + rest), delivery("pid")
        (slot,) = driver.pool.slots

        driver.pool.hand_over(slot, [closing, behind])
        driver.until(lambda: driver.lost)

        assert (driver.lost[0].started, driver.lost[0].unstarted) == ([closing], [behind])
        driver.work_off([delivery("pid")])


def test_children_ignore_what_is_sent_to_the_group(tmp_path: Path):
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


@pytest.mark.parametrize("limit", [1, 3])
def test_recycling_under_load_loses_nothing(limit: int):
    with driving(concurrency=2, max_tasks_per_child=limit) as driver:
        work = [delivery("pid") for _ in range(40)]

        driver.work_off(work, batch=7)

        assert len(driver.outcomes) == 40
        assert driver.lost == []
        pids = [outcome.result for outcome in driver.outcomes.values()]
        assert max(pids.count(pid) for pid in pids) <= limit


def test_what_exceeds_the_room_of_a_child_comes_back():
    with driving(max_tasks_per_child=2) as driver:
        (slot,) = driver.pool.slots
        work = deliveries(5, "pid")

        driver.pool.hand_over(slot, work)
        driver.until(lambda: driver.returned)

        assert driver.returned == work[2:]
        driver.answered(work[:2])


def test_a_child_that_has_grown_too_large_is_replaced():
    with driving(max_memory_per_child=200_000) as driver:
        (slot,) = driver.pool.slots
        modest, greedy, behind = delivery("pid"), delivery("hoard:300 pid"), deliveries(5, "pid")

        driver.work_off([modest, greedy, *behind])

        assert 0 < driver.outcomes[modest.job].memory < 200_000 < driver.outcomes[greedy.job].memory
        assert driver.outcomes[behind[-1].job].result != driver.outcomes[greedy.job].result
        assert driver.lost == []
        assert slot.accepting


def test_grow_and_shrink(tmp_path: Path):
    with driving(concurrency=1) as driver:
        driver.pool.grow(2)
        driver.until(lambda: sum(slot.accepting for slot in driver.pool.slots) == 3)
        busy = driver.pool.slots[2]
        running, waiting = delivery(f"touch:{tmp_path}/began until:{tmp_path}/go"), delivery("pid")
        driver.pool.hand_over(busy, [running, waiting])
        driver.until((tmp_path / "began").exists)

        driver.pool.shrink(2)
        assert list(driver.pool.slots) == [busy]
        driver.until(lambda: len(driver.pool.info()["children"]) == 1)
        with pytest.raises(ValueError, match="one must remain"):
            driver.pool.shrink()
        driver.pool.grow()
        driver.until(lambda: all(slot.accepting for slot in driver.pool.slots))
        (tmp_path / "go").touch()
        driver.answered([running, waiting])

        assert driver.lost == []


def test_shrinking_returns_what_waits_in_the_child_that_goes(tmp_path: Path):
    with driving(concurrency=2) as driver:
        for number, slot in enumerate(driver.pool.slots):
            work = [delivery(f"touch:{tmp_path}/began{number} until:{tmp_path}/go"), delivery("pid")]
            driver.pool.hand_over(slot, work)
        driver.until(lambda: len(list(tmp_path.iterdir())) == 2)

        driver.pool.shrink()

        assert [one.body for one in driver.returned] == ["pid"]
        (tmp_path / "go").touch()
        driver.until(lambda: len(driver.outcomes) == 3 and len(driver.pool.info()["children"]) == 1)


def test_quiesce_lets_the_running_ones_end(tmp_path: Path):
    with driving(concurrency=2) as driver:
        busy, idle = driver.pool.slots
        running, waiting = delivery(f"touch:{tmp_path}/began until:{tmp_path}/go"), delivery("pid")
        driver.pool.hand_over(busy, [running, waiting])
        driver.until((tmp_path / "began").exists)

        driver.pool.quiesce()
        assert not busy.accepting
        assert not idle.accepting
        assert driver.pool.take_back(busy) == [waiting]
        (tmp_path / "go").touch()
        driver.answered([running])
        driver.pool.stop()

        assert driver.lost == []
        assert driver.pool.unfinished() == []


def test_kill_says_what_was_cut_short(tmp_path: Path):
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
        assert not any(alive(pid) for pid in pids if pid)


def test_the_pool_breaks_when_the_fork_server_is_killed(tmp_path: Path):
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


_PARENT = """
import sys, os
from tests.unit.worker.pools.driver import delivery, driving
import django
django.setup()
with driving(concurrency=2) as driver:
    path = sys.argv[1]
    for number, slot in enumerate(driver.pool.slots):
        driver.pool.hand_over(slot, [delivery(f"touch:{path}/child{number} until:{path}/never")])
    open(f"{path}/server", "w").write(str(driver.pool.info()["fork-server"]))
    driver.until(lambda: False, timeout=60)
"""


def test_all_are_gone_when_the_main_process_is_killed(tmp_path: Path):
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "testproject.settings"}
    parent = subprocess.Popen([sys.executable, "-c", _PARENT, str(tmp_path)], env=environment)
    names = ["server", "child0", "child1"]
    wait_until(lambda: all((tmp_path / name).exists() and (tmp_path / name).read_text() for name in names))
    pids = [int((tmp_path / name).read_text()) for name in names]
    assert all(alive(pid) for pid in pids)

    parent.kill()
    parent.wait()

    wait_until(lambda: not any(alive(pid) for pid in pids))


def test_children_that_die_at_once_are_forked_ever_more_slowly(caplog: pytest.LogCaptureFixture):
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


def test_a_child_has_no_descriptors_but_its_own():
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
        # Its end of the socket pair, and the ends of the pipes for permits and orders from which it reads.
        assert all(sorted(name.partition(":")[0] for name in names) == ["pipe", "pipe", "socket"] for names in opened)
        assert not set.intersection(*opened)


def test_descriptors_do_not_leak_with_children():
    with driving(max_tasks_per_child=1) as driver:
        driver.work_off([delivery("pid")])
        driver.until(lambda: driver.pool.slots[0].accepting)
        before = len(os.listdir("/proc/self/fd"))

        driver.work_off([delivery("pid") for _ in range(5)])
        driver.until(lambda: driver.pool.slots[0].accepting)

        assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.django_db(transaction=True)
def test_connections_are_closed_before_the_fork():
    connection.ensure_connection()

    with driving() as driver:
        assert connection.connection is None
        driver.work_off([delivery("pid")])
        connection.ensure_connection()


def test_output_of_tasks_goes_through(capfd: pytest.CaptureFixture[str]):
    with driving() as driver:
        driver.work_off([delivery("print:hello")])

    assert "hello\n" in capfd.readouterr().out


def test_signals_of_the_life_of_a_child(tmp_path: Path):
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


def test_threads_that_run_at_the_fork_get_a_warning(caplog: pytest.LogCaptureFixture):
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
