"""Events as a service of a worker: the dispatcher hangs on the worker's hooks while events of tasks are on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from taskq.conf import settings
from taskq.store.log_lines import tasks_revoked
from taskq.worker import log_lines
from taskq.worker.activity import Activity
from taskq.worker.node import Service, WorkerNode

from .dispatcher import Dispatcher
from .timeline import Timeline


class Events:
    """Sends the events of one worker: those of tasks from the start if ``tasks``, and all while they are enabled.

    ``interval`` is that of heartbeats, in seconds; with ``None`` there are no events of the worker itself.
    """

    def __init__(self, *, tasks: bool, interval: float | None) -> None:
        self._from_start = tasks
        self._interval = interval
        self._dispatcher: Dispatcher | None = None
        self._timeline: Timeline | None = None
        self._activity: Activity | None = None
        self.enabled = False

    def start(self, node: WorkerNode) -> None:
        """Register the dispatcher with the worker's remote thread, and the timeline with its store thread."""
        self._dispatcher = Dispatcher(node, self._interval)
        self._activity = node.activity
        node.remote.add(self._dispatcher)
        log_lines.shutdown_began.subscribe(self._dispatcher.ending)
        self._timeline = Timeline(node.store, node.lease)
        node.store.duties = (*node.store.duties, self._timeline)
        if self._from_start:
            self.enable_events()

    def stop(self) -> None:
        """Note nothing more; what is noted is still sent."""
        self.disable_events()
        if self._dispatcher is not None:
            log_lines.shutdown_began.unsubscribe(self._dispatcher.ending)

    def enable_events(self) -> bool:
        """Send events of tasks; return false if that is so already."""
        if self.enabled:
            return False
        self._switch(on=True)
        for hook, subscriber in self._subscriptions():
            hook.subscribe(subscriber)
        return True

    def disable_events(self) -> bool:
        """Send no more events of tasks; return false if none were sent."""
        if not self.enabled:
            return False
        self._switch(on=False)
        for hook, subscriber in self._subscriptions():
            hook.unsubscribe(subscriber)
        return True

    def _switch(self, *, on: bool) -> None:
        self.enabled = on
        if self._activity is not None:
            self._activity.events = on

    def beat(self) -> None:
        """Look who hears events, and send a heartbeat. Called on the remote thread."""
        if self._dispatcher is not None:
            self._dispatcher.beat()

    def _subscriptions(self) -> Iterator[tuple[Any, Any]]:
        if (to := self._dispatcher) is not None:
            yield log_lines.tasks_received, to.received
            yield log_lines.tasks_handed_over, to.handed_over
            yield log_lines.tasks_settled, to.settled
            yield log_lines.settlement_found, to.settled_before
            yield log_lines.task_put_back, to.put_back
            yield log_lines.event_sent_by_task, to.sent_by_task
            yield log_lines.task_revoked, to.revoked
            yield tasks_revoked, to.revoked_unheld
        if (kept := self._timeline) is not None:
            yield log_lines.tasks_received, kept.received
            yield log_lines.tasks_settled, kept.settled
            yield log_lines.settlement_found, kept.settled_before
            yield log_lines.task_revoked, kept.revoked


def services(*, tasks: bool, interval: float | None) -> list[Service]:
    """Return the services of a new worker; the arguments are those of ``Events``."""
    events: list[Service] = [Events(tasks=tasks, interval=interval)]
    if settings.KEEP_TASK_LOGS:
        from .kept_logs import KeptLogs

        events.append(KeptLogs())
    return events
