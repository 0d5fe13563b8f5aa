"""Connects the receivers when a process starts, if its environment asks for it."""

from __future__ import annotations

import json
import logging
import os
from typing import Any

from django.apps import AppConfig

from taskq import signals

#: The name of a task whose message taskq fails to read, by a fault of its own.
UNREADABLE = "tests.unreadable"


class ListeningConfig(AppConfig):
    """Listens to all signals, but to ``setup_logging`` only if asked: its receiver takes the worker's log away.

    ``TEST_SIGNALS`` is the file, ``TEST_SIGNALS_RAISE`` has each receiver raise, ``TEST_SIGNALS_LOGGING`` sets logging
    up in a receiver.
    """

    name = "tests.support.listening"
    label = "test_listening"

    def import_models(self) -> None:
        """Connect one receiver to each signal, before the first app is ready."""
        super().import_models()
        if (path := os.environ.get("TEST_SIGNALS")) is None:
            return
        for name, signal in vars(signals).items():
            if isinstance(signal, signals.TaskqSignal) and name != "setup_logging":
                signal.connect(_noting(path, name), weak=False)
        if "TEST_SIGNALS_LOGGING" in os.environ:
            signals.setup_logging.connect(_set_up_logging, weak=False)
            signals.setup_logging.connect(_noting(path, "setup_logging"), weak=False)

    def ready(self) -> None:
        """Connect a receiver for a single task, and break the reading of another."""
        if (path := os.environ.get("TEST_SIGNALS")) is None:
            return
        from taskq import task
        from taskq.calls import masking
        from tests.support.jobs.flows import add

        signals.task_received.connect(_noting(path, "received add"), sender=add, weak=False)
        task(name=UNREADABLE)(lambda: None)
        shown = masking.shown

        def failing(name: str, *arguments: Any) -> Any:
            return 1 / 0 if name == UNREADABLE else shown(name, *arguments)

        masking.shown = failing


def _set_up_logging(**_: Any) -> None:
    logging.basicConfig(level="INFO", format="[%(asctime)s: %(levelname)s/of the project] %(message)s")


def _noting(path: str, name: str) -> Any:
    raises = "TEST_SIGNALS_RAISE" in os.environ

    def receiver(signal: Any, sender: Any, **arguments: Any) -> None:
        headers = arguments.get("headers") or {}
        line = {
            "signal": name,
            "sender": getattr(sender, "hostname", None) or getattr(sender, "name", sender),
            "arguments": sorted(arguments),
            "task_id": headers.get("id") or getattr(arguments.get("request"), "id", None),
            "parts": [type(part).__name__ for part in arguments.get("body", ())],
            "pid": os.getpid(),
        }
        with open(path, "a") as file:
            file.write(f"{json.dumps(line)}\n")
        if raises:
            raise RuntimeError(f"the receiver of {name} fails")

    return receiver
