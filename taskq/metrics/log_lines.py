"""The events of serving metrics and probes, each with its line of the log."""

from __future__ import annotations

from taskq.hooks import Hook
from taskq.log_escapes import get_logger

log = get_logger("taskq.worker")

serving_began = Hook[str](log.info, "Metrics and probes are served on %s.")
answer_failed = Hook[str](log.exception, "The answer to %s failed.")
