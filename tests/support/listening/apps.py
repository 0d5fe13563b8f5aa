"""Connects the receivers when a process starts, if its environment asks for it."""

from __future__ import annotations

import json
import os
from typing import Any

from django.apps import AppConfig

from taskq import signals


class ListeningConfig(AppConfig):
    """Listens to all signals but ``setup_logging``, whose receiver would take the worker's log away."""

    name = "tests.support.listening"
    label = "test_listening"

    def ready(self) -> None:
        """Connect one receiver to each signal, and one for a single task."""
        path = os.environ.get("TEST_SIGNALS")
        if path is None:
            return
        for name, signal in vars(signals).items():
            if isinstance(signal, signals.TaskqSignal) and name != "setup_logging":
                signal.connect(_noting(path, name), weak=False)
        from tests.support.jobs.flows import add

        signals.task_received.connect(_noting(path, "received add"), sender=add, weak=False)


def _noting(path: str, name: str) -> Any:
    def receiver(signal: Any, sender: Any, **arguments: Any) -> None:
        headers = arguments.get("headers") or {}
        line = {
            "signal": name,
            "sender": getattr(sender, "name", sender),
            "arguments": sorted(arguments),
            "task_id": headers.get("id") or getattr(arguments.get("request"), "id", None),
            "parts": [type(part).__name__ for part in arguments.get("body", ())],
        }
        with open(path, "a") as file:
            file.write(f"{json.dumps(line)}\n")

    return receiver
