"""The watchdog, with the end of the process left out."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from taskq.worker.process.watchdog import EXIT_STATUS, Watchdog
from tests.support.processes import ROOT
from tests.support.waiting import wait_until


class Barking(Watchdog):
    """Notes that it would end the process."""

    def __init__(self, timeout: float) -> None:
        super().__init__(timeout)
        self.ended = threading.Event()

    def _tell(self) -> None:
        self.ended.set()
        self.stop()


def test_watchdog_ends_a_loop_without_progress() -> None:
    watchdog = Barking(0.05)
    watchdog.start()
    assert watchdog.ended.wait(60)
    watchdog.join(60)
    assert not watchdog.is_alive()


def test_watchdog_leaves_alone_a_loop_that_pats_it() -> None:
    watchdog = Barking(10.0)
    watchdog.start()
    watchdog.pat()
    watchdog.stop()
    watchdog.join(60)
    assert not watchdog.ended.is_set()


def test_watchdog_logs_what_hangs_and_exits_with_status_70(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    statuses: list[int] = []
    monkeypatch.setattr("taskq.worker.process.exit.os._exit", statuses.append)
    watchdog = Watchdog(0.02)
    watchdog.start()
    wait_until(lambda: statuses, what="the watchdog to end the process")
    watchdog.stop()
    watchdog.join(60)
    assert statuses[0] == 70
    assert "no progress" in caplog.text


def test_watchdog_that_must_not_end_the_process_tells_of_a_hanging_loop_until_it_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watchdog = Watchdog(0.02, ends=False)
    watchdog.start()
    wait_until(lambda: "no progress" in caplog.text, what="the watchdog's line")
    assert watchdog.hanging
    watchdog.pat()
    # It says so again only if it was not hanging in between.
    wait_until(lambda: caplog.text.count("no progress") == 2, what="the loop to hang again")
    assert watchdog.hanging
    watchdog.stop()
    watchdog.join(60)


def test_watchdog_ends_a_process_whose_standard_error_nobody_reads() -> None:
    program = """if True:
        import os, time
        from taskq.worker.process.watchdog import Watchdog
        from tests.support.full_pipe import fill
        reader, writer = os.pipe()
        fill(writer)
        os.dup2(writer, 2)
        Watchdog(0.2).start()
        time.sleep(60)
    """
    assert subprocess.run([sys.executable, "-c", program], timeout=50, cwd=ROOT).returncode == EXIT_STATUS
