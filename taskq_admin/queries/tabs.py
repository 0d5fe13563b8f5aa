"""The tabs of the task list. Each is one state or none, so that an index of (state, -id) serves it, and a condition.

Running tasks are those whose messages a worker holds; so a state of the user's own (``PROGRESS``) is there too.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from taskq import states, timezones
from taskq.conf import settings
from taskq.models import Message, TaskRun
from taskq.store.reading import counts

from . import capped
from .capped import CappedCount


@dataclass(frozen=True, slots=True)
class Tab:
    """One tab: ``key`` is its value in the address, ``state`` the state that it shows, all if empty.

    ``empty`` says what would fill it.
    """

    key: str
    label: str | Promise
    state: str = ""
    empty: str | Promise = ""

    def rows(self, runs: QuerySet[TaskRun]) -> QuerySet[TaskRun]:
        """Return those of ``runs`` that an index finds for the tab; of these it shows what meets ``condition``."""
        if self is RUNNING:
            held = Message.objects.using(settings.DATABASE).filter(token__gt="").values("task_id")
            return runs.filter(_RUNS, task_id__in=held)
        return runs.filter(state=self.state) if self.state else runs

    @property
    def condition(self) -> Q | None:
        """What the rows have to meet besides; no index serves it."""
        if self is WAITING:
            return _starts_not(timezones.now())
        if self is UNFINISHED:
            return ~Q(state__in=states.READY_STATES)
        return Q(eta__gt=timezones.now(), started_at=None) if self is SCHEDULED else None


def _starts_not(now: object) -> Q:
    return Q(started_at=None) & (Q(eta=None) | Q(eta__lte=now))


ALL = Tab("", _("All"), empty=_("No task has a row yet. Each task that is sent, or has ended, is listed here."))
RUNNING = Tab("running", _("Running"), empty=_("No worker runs a task now."))
WAITING = Tab(
    "waiting", _("Waiting"), states.PENDING, _("Nothing waits. Here are tasks that are due and that nobody has begun.")
)
SCHEDULED = Tab(
    "scheduled", _("Scheduled"), states.PENDING, _("Nothing is due later. Here are tasks sent with eta= or countdown=.")
)
TABS = (
    ALL,
    RUNNING,
    WAITING,
    SCHEDULED,
    Tab("succeeded", _("Succeeded"), states.SUCCESS, _("No task has succeeded, or their rows are over age.")),
    Tab("failed", _("Failed"), states.FAILURE, _("No task has failed. Here are tasks that raised an exception.")),
    Tab("retrying", _("Retrying"), states.RETRY, _("No task waits to be tried again.")),
    Tab("revoked", _("Revoked"), states.REVOKED, _("No task was revoked, or expired before it began.")),
)
#: A row that was told that its task runs: by its state, or after a second.
_RUNS = Q(started_at__isnull=False) | ~Q(state__in=(states.PENDING, states.RETRY, states.RECEIVED))
_RUNS &= ~Q(state__in=states.READY_STATES)
#: Of all that wait or run: no tab of the list, but what can be asked for with an error.
UNFINISHED = Tab("unfinished", _("Not ended"))
_BY_KEY = {tab.key: tab for tab in (*TABS, UNFINISHED)}


def tab_for(key: str | None) -> Tab:
    """Return the tab with ``key``; an unknown one is "All"."""
    return _BY_KEY.get(key or "", ALL)


def tab_counts() -> dict[str, CappedCount]:
    """Count every tab's rows by its key, each up to the cap, by one statement with a short index scan a tab."""
    most = capped.CAP + 1
    runs = TaskRun.objects.using(settings.DATABASE)
    pending = runs.filter(state=states.PENDING).order_by("state", "-id")
    # Of tabs with a condition so many rows are looked at.
    newest = pending.filter(pk__gte=Coalesce(Subquery(pending.values("pk")[capped.CAP : most]), 0))
    rows = {tab.key: newest.filter(tab.condition) if tab.condition else _in_order(tab, runs) for tab in TABS}
    *found, all_pending = counts([each.values("pk")[:most] for each in (*rows.values(), pending)])
    return {
        tab.key: CappedCount(min(count, capped.CAP), (all_pending if tab.condition else count) > capped.CAP)
        for tab, count in zip(TABS, found, strict=True)
    }


def _in_order(tab: Tab, runs: QuerySet[TaskRun]) -> QuerySet[TaskRun]:
    return tab.rows(runs).order_by(*(["state"] if tab.state else []), "-id")
