"""The log of events. Only lines about their own trouble: what happens to tasks is logged by the worker."""

from __future__ import annotations

from taskq.hooks import Hook
from taskq.log_escapes import get_logger

log = get_logger("taskq.events")

events_not_sent = Hook[Exception](log.warning, "Events could not be sent: %r.")
task_sent_failed = Hook[Exception](log.warning, "Events task-sent could not be sent, and pause: %r.")
timeline_not_written = Hook[Exception](log.warning, "What happened to some tasks is not kept: %r.")
lines_not_kept = Hook[int, Exception](log.warning, "Lines that %d tasks have logged are not kept: %r.")
event_unreadable = Hook[Exception](log.debug, "A message to the monitor is no event: %r.")
