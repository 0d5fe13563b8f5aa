"""The tabs of the task list. Each is a few states, so that an index of (state, -id) serves it.

Running tasks are those whose messages a worker holds; so a state of the user's own (``PROGRESS``) is there too.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Q, QuerySet
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from taskq import states
from taskq.conf import settings
from taskq.models import Message, TaskRun

from .capped import CappedCount, capped_count


@dataclass(frozen=True, slots=True)
class Tab:
    """One tab: ``key`` is its value in the address, ``states`` are the states that it shows, all if empty."""

    key: str
    label: str | Promise
    states: tuple[str, ...] = ()

    def rows(self, runs: QuerySet[TaskRun]) -> QuerySet[TaskRun]:
        """Return the rows of ``runs`` that the tab shows."""
        if self is RUNNING:
            held = Message.objects.using(settings.DATABASE).filter(token__gt="").values("task_id")
            return runs.filter(_RUNS, task_id__in=held)
        if not self.states:
            return runs
        # One state is one range of the index, which has its rows in the order of the list.
        rows = runs.filter(state=self.states[0]) if len(self.states) == 1 else runs.filter(state__in=self.states)
        return rows.exclude(state=states.PENDING, started_at__isnull=False) if self is WAITING else rows


ALL = Tab("", _("All"))
RUNNING = Tab("running", _("Running"))
WAITING = Tab("waiting", _("Waiting"), (states.PENDING, states.RETRY, states.RECEIVED))
#: A row that was told that its task runs: by its state, or after a second.
_RUNS = Q(started_at__isnull=False) | ~Q(state__in=WAITING.states)
_RUNS &= ~Q(state__in=states.READY_STATES)
TABS = (
    ALL,
    RUNNING,
    WAITING,
    Tab("succeeded", _("Succeeded"), (states.SUCCESS,)),
    Tab("failed", _("Failed"), (states.FAILURE,)),
    Tab("revoked", _("Revoked"), (states.REVOKED,)),
)
_BY_KEY = {tab.key: tab for tab in TABS}


def tab_for(key: str | None) -> Tab:
    """Return the tab with ``key``; an unknown one is "All"."""
    return _BY_KEY.get(key or "", ALL)


def tab_counts() -> dict[str, CappedCount]:
    """Count every tab's rows by its key, each up to the cap: one short index scan a tab."""
    runs = TaskRun.objects.using(settings.DATABASE)
    return {tab.key: capped_count(_in_order(tab, runs)) for tab in TABS}


def _in_order(tab: Tab, runs: QuerySet[TaskRun]) -> QuerySet[TaskRun]:
    return tab.rows(runs).order_by(*(["state"] if tab.states else []), "-id")
