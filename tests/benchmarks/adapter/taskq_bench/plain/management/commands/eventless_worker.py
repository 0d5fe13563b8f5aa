"""``taskworker`` without the service of events, which ``tests.benchmarks.events`` compares with events that are off."""

from __future__ import annotations

from typing import Any

from taskq.control.service import services
from taskq.management.commands import taskworker
from taskq.worker.node import Service


class Command(taskworker.Command):
    """Runs a worker that subscribes nothing to its hooks, sends no heartbeats, and keeps no timeline."""

    def _services(self, serve: Any, **events: Any) -> list[Service]:
        return services()
