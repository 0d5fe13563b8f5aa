"""What needs attention: conditions that somebody should look into, each with a sentence and a page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Max
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from taskq.conf import settings
from taskq.models import Lease, QueuePause, ScheduledMessage, Worker
from taskq_admin.badges import short

from . import durations, workers
from .queues import QueueLoad
from .throughput import Period

#: Seconds after which a scheduled message that is due is overdue, and waiting messages that nobody takes are.
LATE = 60.0
#: Retention makes a pass each minute; so long without one, it does not keep up or does not run.
_SWEPT = timedelta(hours=1)
#: At least so many failures, and so large a share of the last hour's ends, are a sentence.
_FAILURES, _SHARE = 5, 0.2


@dataclass(frozen=True, slots=True)
class Notice:
    """A sentence, and the name of the list that shows more: ``queue``, ``worker`` or ``taskrun``."""

    text: str
    page: str
    query: str = ""


def of_queues(loads: list[QueueLoad], with_readers: bool) -> list[Notice]:
    """Return what is to be said of queues; ``with_readers`` also that nobody takes from one."""
    found = []
    for load in loads:
        if load.pause is not None:
            found.append(_paused(load.pause))
        elif load.waiting and not load.read and with_readers:
            text = _("%(count)s messages wait in the queue %(queue)s, and no living worker takes from it.")
            found.append(Notice(text % {"count": load.waiting, "queue": short(load.name)}, "queue"))
    return found


def _paused(pause: QueuePause) -> Notice:
    text = _("The queue %(queue)s is paused") % {"queue": short(pause.queue)}
    by = _(" by %s") % short(pause.by) if pause.by else ""
    return Notice(f"{text}{by}{f': {short(pause.reason)}' if pause.reason else '.'}", "queue")


def of_workers(rows: list[Worker], now: datetime) -> list[Notice]:
    """Return what is to be said of workers that were lost or are silent, and of there being none."""
    away = [row for row in rows if workers.is_away(row, now)]
    found = [
        Notice(
            _("The worker %(name)s was lost; its tasks went back.") % {"name": short(row.name)}
            if row.state == Worker.LOST
            else _("Nothing was heard of the worker %(name)s for %(time)s.")
            % {"name": short(row.name), "time": durations.words(workers.silence(row, now))},
            "worker",
        )
        for row in away
    ]
    if len(away) == len(rows):
        found.append(Notice(_("No worker runs: tasks wait until one is started."), "worker"))
    return found


def of_failures(hour: list[Period]) -> list[Notice]:
    """Return whether unusually many tasks failed within the last hour."""
    failed, ended = sum(period.failed for period in hour), sum(period.total for period in hour)
    if failed < _FAILURES or failed < _SHARE * ended:
        return []
    text = ngettext(
        "%(failed)s of %(ended)s task failed within the last hour.",
        "%(failed)s of %(ended)s tasks failed within the last hour.",
        ended,
    )
    return [Notice(text % {"failed": failed, "ended": ended}, "taskrun", "?tab=failed")]


def of_duties(now: datetime) -> list[Notice]:
    """Return which duties of workers are not done: promoting what is due, and deleting what is old."""
    found = []
    rows = ScheduledMessage.objects.using(settings.DATABASE).order_by("due_at")
    due = rows.values_list("due_at", flat=True).first()
    if due is not None and (late := (now - due).total_seconds()) > LATE:
        text = _("A scheduled task is %(time)s overdue: workers do not promote it.")
        found.append(Notice(text % {"time": durations.words(late)}, "queue"))
    swept = Lease.objects.using(settings.DATABASE).filter(name=Lease.RETENTION).aggregate(at=Max("done_at"))["at"]
    if swept is not None and now - swept > _SWEPT:
        text = _("Old rows were last deleted %(time)s ago: no worker keeps up with it.")
        found.append(Notice(text % {"time": durations.words((now - swept).total_seconds())}, "worker"))
    return found
