"""A worker whose standard streams are closed, broken, full or not read starts, works and stops with status 0."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from taskq.models import Worker
from tests.support.full_pipe import fill
from tests.support.jobs.flows import add
from tests.support.processes import ROOT, Processes
from tests.support.unruly import tasks as unruly
from tests.support.waiting import wait_until
from tests.support.workers import as_environment, start_worker

pytestmark = [pytest.mark.faults, pytest.mark.parametrize("database", ["sqlite"], indirect=True)]

APPS = {"TEST_APPS": "tests.support.jobs,tests.support.unruly"}


def close_streams() -> None:
    for fd in range(3):
        os.close(fd)


def full_pipe() -> tuple[int, int]:
    reader, writer = os.pipe()
    fill(writer)
    return reader, writer


@pytest.mark.usefixtures("alias")
@pytest.mark.parametrize("streams", ["closed", "full disk", "without reader", "not read"])
def test_worker_outlives_its_streams(streams: str, processes: Processes, alias: str, tmp_path: Path) -> None:
    reader, writer = full_pipe() if streams == "not read" else os.pipe()
    output: Any = open("/dev/full", "wb") if streams == "full disk" else writer  # noqa: SIM115
    close: Callable[[], None] | None = close_streams if streams == "closed" else None
    worker = subprocess.Popen(
        [sys.executable, "manage.py", "taskworker", "-c", "1", "-l", "info"],
        cwd=ROOT,
        env={**processes.environment, **as_environment({}), **APPS},
        stdout=output,
        stderr=output,
        preexec_fn=close,
    )
    try:
        os.close(writer)
        wait_until(lambda: worker.poll() is not None or Worker.objects.using(alias).exists(), what="the worker")
        if streams == "without reader":
            os.close(reader)
        # The stacks that this asks for meet the same streams.
        worker.send_signal(signal.SIGUSR1)
        results = [unruly.shout.delay("hello" * 2000) for _ in range(3)]
        assert [result.get(timeout=60) for result in results] == ["printed"] * 3
        worker.terminate()
        assert worker.wait(60) == 0
    finally:
        worker.kill()
        worker.wait()
        if streams != "without reader":
            os.close(reader)


@pytest.mark.usefixtures("alias")
def test_worker_outlives_a_storm_of_signals_for_its_stacks(processes: Processes) -> None:
    worker = start_worker(processes, "-c", "1")
    results = []
    for number in range(1_000):
        worker.send(signal.SIGUSR1)
        if number % 50 == 0:
            results.append(add.delay(number, 1))
    assert [result.get(timeout=60) for result in results] == list(range(1, 1_001, 50))
    # The handler writes the one stack that stands still meanwhile, and then a thread all of them.
    stack = r"^Stack \(most recent call first\):$[\s\S]*?^Thread 0x.*\n(?:  File .*\n)*  File .*node\.py.* in run$"
    wait_until(lambda: re.search(stack, worker.log, re.M), what="the stacks")
    assert worker.stop() == 0
