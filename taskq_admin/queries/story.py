"""What happened to a task, in a sentence. Pure: it queries nothing, and says nothing of payloads."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy

from taskq import states
from taskq.models import TaskRun
from taskq_admin.badges import elapsed, short

from . import durations, runs
from .timeline import Try

#: Stands for the time in a sentence that is not HTML yet: no state and no name of a worker has it.
_PLACE = "\0"
_ENDED = {
    states.SUCCESS: lazy("Succeeded %(time)s ago"),
    states.FAILURE: lazy("Failed %(time)s ago"),
    states.REVOKED: lazy("Revoked %(time)s ago"),
    states.REJECTED: lazy("Rejected %(time)s ago"),
}


def story(run: TaskRun, starts: Sequence[Try], now: datetime) -> str:
    """Return the sentence, such as "Failed 3 min ago, after 2 s, on taskq@one, in attempt 2."."""
    template, at, values = _now(run)
    return _finished(template % {**values, "time": _since(at, now)}, run, starts)


def live(run: TaskRun, starts: Sequence[Try]) -> SafeString:
    """Return the sentence as HTML, whose time goes on while the page is open."""
    template, at, values = _now(run)
    # What is put in after the escaping is HTML; nothing else in the sentence is.
    before, after = _finished(template % {**values, "time": _PLACE}, run, starts).split(_PLACE, 1)
    return format_html("{}{}{}", before, elapsed(at) if at else "", after)


def _finished(begun: str, run: TaskRun, starts: Sequence[Try]) -> str:
    parts = [begun]
    if run.runtime is not None and run.finished_at is not None:
        parts.append(_("after %s") % durations.words(run.runtime))
    if run.worker:
        parts.append(_("on %s") % short(run.worker))
    if len(starts) > 1 and run.started_at is not None:
        parts.append(_("in attempt %d") % len(starts))
    return f"{', '.join(parts)}."


def _now(run: TaskRun) -> tuple[str, datetime | None, dict[str, str]]:
    """Return what the sentence begins with, since when that is, and what else is put in."""
    if run.finished_at is not None and runs.never_ran(run):
        return _("Never ran: it failed %(time)s ago, before it was sent"), run.finished_at, {}
    if run.finished_at is not None:
        text = str(_ENDED.get(run.state) or _("Ended %(time)s ago as %(state)s"))
        return text, run.finished_at, {"state": short(run.state)}
    if run.state == states.RETRY:
        return _("Waits for its next attempt") + "%(time)s", None, {}
    if run.started_at is not None:
        return _("Running for %s").replace("%s", "%(time)s"), run.started_at, {}
    return _("Waiting for %s").replace("%s", "%(time)s"), run.created_at, {}


def _since(moment: datetime | None, now: datetime) -> str:
    return "" if moment is None else durations.words(max(int(durations.between(moment, now) or 0), 0))
