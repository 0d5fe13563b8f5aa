"""What happened to a task, in a sentence. Pure: it queries nothing, and says nothing of payloads."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy

from taskq import states
from taskq.models import TaskRun
from taskq_admin.badges import short

from . import durations
from .timeline import Try

_ENDED = {
    states.SUCCESS: lazy("Succeeded %(time)s ago"),
    states.FAILURE: lazy("Failed %(time)s ago"),
    states.REVOKED: lazy("Revoked %(time)s ago"),
    states.REJECTED: lazy("Rejected %(time)s ago"),
}


def story(run: TaskRun, starts: Sequence[Try], now: datetime) -> str:
    """Return the sentence, such as "Failed 3 min ago, after 2 s, on taskq@one, in attempt 2."."""
    parts = [_now(run, now)]
    if run.runtime is not None and run.finished_at is not None:
        parts.append(_("after %s") % durations.words(run.runtime))
    if run.worker:
        parts.append(_("on %s") % short(run.worker))
    if len(starts) > 1 and run.started_at is not None:
        parts.append(_("in attempt %d") % len(starts))
    return f"{', '.join(parts)}."


def _now(run: TaskRun, now: datetime) -> str:
    if run.finished_at is not None:
        text = str(_ENDED.get(run.state) or _("Ended %(time)s ago as %(state)s"))
        return text % {"time": _since(run.finished_at, now), "state": short(run.state)}
    if run.state == states.RETRY:
        return _("Waits for its next attempt")
    if run.started_at is not None:
        return _("Runs since %s") % _since(run.started_at, now)
    return _("Waits since %s") % _since(run.created_at, now)


def _since(moment: datetime, now: datetime) -> str:
    return durations.words(max(int(durations.between(moment, now) or 0), 0))
