"""Patches the worker when the process starts, if its environment asks for it."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import Any

from django.apps import AppConfig

#: The task that the process hangs at.
CAUSE = "tests.support.jobs.tasks.note"


class HangingConfig(AppConfig):
    """Arms what ``TEST_HANG`` names: ``loop``, ``log``, ``store``, or ``start`` for a worker that can't start."""

    name = "tests.support.hanging"
    label = "test_hanging"

    def ready(self) -> None:
        """Connect a receiver, add a handler to the log, or patch the ledger."""
        what = os.environ.get("TEST_HANG")
        if what == "loop":
            _block_the_loop()
        elif what == "log":
            _block_the_log()
        elif what == "store":
            _block_the_store_thread()
        elif what == "start":
            _refuse_the_watchdog()


def _block_the_loop() -> None:
    """Have an app's receiver, which runs on the loop's thread, take for ever."""
    from taskq import signals

    def hang(request: Any, **kwargs: Any) -> None:
        if request.name == CAUSE:
            time.sleep(3600)

    signals.task_received.connect(hang, weak=False)


class Blocking(logging.Handler):
    """Blocks at the line that the loop writes about the task, while the file ``TEST_HANG_FILE`` is there."""

    def emit(self, record: logging.LogRecord) -> None:
        """Make the file, and wait until it is gone."""
        text = record.getMessage()
        if CAUSE in text and text.endswith("received"):
            path = Path(os.environ["TEST_HANG_FILE"])
            path.touch()
            while path.exists():
                time.sleep(0.05)


def _block_the_log() -> None:
    """Have a log handler block the loop, and less patience with it."""
    logger = logging.getLogger("taskq.worker")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(Blocking())
    _lose_patience()


def _block_the_store_thread() -> None:
    """Have the database give no answer to what settles a task, and less patience with it."""
    from taskq.worker.duties import ledger

    settle = ledger.settle

    def hang(token: str, settlements: Any, alias: str) -> Any:
        if any(settlement.name == CAUSE for settlement in settlements):
            time.sleep(3600)
        return settle(token, settlements, alias)

    ledger.settle = hang
    _lose_patience()


def _refuse_the_watchdog() -> None:
    """Have no room for the watchdog's thread, which starts when the rest of the worker runs."""
    from taskq.worker.process.watchdog import Watchdog

    def start(watchdog: Watchdog) -> None:
        from taskq.models import Worker

        while not Worker.objects.exclude(state=Worker.CONSUMER).exists():
            time.sleep(0.01)
        raise RuntimeError("can't start new thread")

    Watchdog.start = start  # type: ignore[method-assign]


def _lose_patience() -> None:
    from taskq.worker import node

    node._STUCK_LEASES, node._STUCK_SECONDS = 0, 3.0
