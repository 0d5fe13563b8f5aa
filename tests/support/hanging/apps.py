"""Patches the worker when the process starts, if its environment asks for it."""

from __future__ import annotations

import os
import time
from typing import Any

from django.apps import AppConfig

#: The task that the process hangs at.
CAUSE = "tests.support.jobs.tasks.note"


class HangingConfig(AppConfig):
    """Arms what ``TEST_HANG`` names: ``loop`` or ``store``."""

    name = "tests.support.hanging"
    label = "test_hanging"

    def ready(self) -> None:
        """Connect a receiver, or patch the ledger."""
        what = os.environ.get("TEST_HANG")
        if what == "loop":
            _block_the_loop()
        elif what == "store":
            _block_the_store_thread()


def _block_the_loop() -> None:
    """Have an app's receiver, which runs on the loop's thread, take for ever."""
    from taskq import signals

    def hang(request: Any, **kwargs: Any) -> None:
        if request.name == CAUSE:
            time.sleep(3600)

    signals.task_received.connect(hang, weak=False)


def _block_the_store_thread() -> None:
    """Have the database give no answer to what settles a task, and less patience with it."""
    from taskq.worker import node
    from taskq.worker.duties import ledger

    settle = ledger.settle

    def hang(token: str, settlements: Any, alias: str) -> Any:
        if any(settlement.name == CAUSE for settlement in settlements):
            time.sleep(3600)
        return settle(token, settlements, alias)

    ledger.settle = hang
    node._STORE_LEASES, node._STORE_TURN = 0, 3.0
