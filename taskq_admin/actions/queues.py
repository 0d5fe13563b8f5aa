"""Queues: pause, resume, purge. Its actions are registered with ``base.register``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from django import forms
from django.contrib.messages import WARNING
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from taskq import control
from taskq.conf import database_broker_alias
from taskq_admin.badges import short

from .base import Report, Who, define, register

#: Messages that one request purges: more would outlast the patience of a server in front of it.
MOST = 20_000


class PauseForm(forms.Form):
    """For how long."""

    minutes = forms.FloatField(
        label=gettext_lazy("Minutes"),
        required=False,
        min_value=0.1,
        max_value=10 * 365 * 24 * 60,
        help_text=gettext_lazy("Without a number it is paused until somebody resumes it."),
    )


def pause(ids: Sequence[str], data: Mapping[str, Any], who: Who) -> Report:
    """Have no worker start tasks of these queues."""
    report, minutes = Report(), data.get("minutes")
    for queue in ids:
        control.pause_queue(queue, seconds=minutes and 60 * minutes, reason=who.reason, by=who.name)
        report.done += 1
        text = _(
            "The queue %(queue)s is paused: workers start no more tasks of it within a second. Running tasks go on."
        )
        report.say(text % {"queue": short(queue)})
    return report


def resume(ids: Sequence[str], data: Mapping[str, Any], who: Who) -> Report:
    """Have workers start tasks of these queues again."""
    report = Report(touched=[])
    for queue in ids:
        if control.resume_queue(queue):
            report.done += 1
            report.touched = [*(report.touched or ()), queue]
            report.say(_("The queue %(queue)s is resumed.") % {"queue": short(queue)})
        else:
            report.say(_("The queue %(queue)s was not paused.") % {"queue": short(queue)}, WARNING)
    return report


def purge(ids: Sequence[str], data: Mapping[str, Any], who: Who) -> Report:
    """Delete what waits in these queues."""
    report, left = Report(touched=[]), MOST
    for queue in ids:
        if left > 0:
            count = control.purge_queue(queue, left)
            left -= count
            report.done += 1
            report.touched = [*(report.touched or ()), queue]
            text = ngettext(
                "%(count)s message of %(queue)s was deleted, and its task revoked.",
                "%(count)s messages of %(queue)s were deleted, and their tasks revoked.",
                count,
            )
            report.say(text % {"count": count, "queue": short(queue)})
        if left <= 0:
            text = _("No more are deleted at once: purge %(queue)s again if messages still wait in it.")
            report.say(text % {"queue": short(queue)}, WARNING)
    return report


def _is_paused(queue: Any) -> bool:
    return getattr(queue, "pause", None) is not None


def _is_not_paused(queue: Any) -> bool:
    return not _is_paused(queue)


def _can_not_be_purged(queue: Any) -> str:
    if database_broker_alias() is not None:
        return ""
    return _("Only queues in the database can be purged here: use the tools of the broker.")


_action = partial(define, "queue")
_PAUSE = gettext_lazy(
    "No worker starts a task of the queue while it is paused. What runs goes on; what is sent waits. "
    "The reason is shown to those who look at the queue."
)
_PURGE = gettext_lazy(
    "All messages that wait in the queue are deleted, and their tasks are revoked. There is no way back. What "
    "workers hold, and what is scheduled, stays."
)

register(
    _action(
        "pause",
        gettext_lazy("Pause"),
        "pause_queue",
        pause,
        question=_PAUSE,
        form=PauseForm,
        applies=_is_not_paused,
    ),
    _action("resume", gettext_lazy("Resume"), "pause_queue", resume, applies=_is_paused),
    _action(
        "purge",
        gettext_lazy("Purge"),
        "purge_queue",
        purge,
        question=_PURGE,
        destroys=True,
        type_to_confirm=True,
        refuses=_can_not_be_purged,
    ),
)
