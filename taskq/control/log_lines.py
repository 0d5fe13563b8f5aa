"""The events of remote control, each with its line of the log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskq.hooks import Hook
from taskq.log_escapes import get_logger

log = get_logger("taskq.control")

#: Commands that monitors send all the time are lines of the level DEBUG, like all that change nothing.
command_received = Hook[str, Mapping[str, Any]](log.debug, "Command %.100s with %.1000r")
command_expired = Hook[str, float](
    log.warning,
    "The command %.100s is not obeyed: it expired at %.3f. Do the clocks of its sender and this machine agree?",
)
command_old = Hook[str](
    log.warning,
    "The command %.100s is not obeyed: it waited in the mailbox when this worker started, so it was for another.",
)
command_failed = Hook[str, BaseException](
    lambda name, error: log.error("The command %s raised an error.", name, exc_info=error)
)
tasks_retried = Hook[int, str, str](
    lambda count, name, by: log.info("%d of %s: retried%s.", count, name, f" by {by}" if by else "")
)
message_unreadable = Hook[Exception](log.warning, "A message of remote control is no command: %s")
reply_not_sent = Hook[str, Exception](log.warning, "The reply to the command %.100s was not sent: %.1000r")
reply_refused = Hook[str, str, str](log.warning, "The reply to the command %.100s is not sent to %r: replies go to %r.")
