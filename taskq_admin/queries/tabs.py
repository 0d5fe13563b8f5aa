"""The tabs of the task list. Each is a few states, so that an index of (state, -id) serves it.

A state of the user's own (``PROGRESS``) is under "All" only: "every other state"
would be a condition that no index answers.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import QuerySet
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from taskq import states
from taskq.conf import settings
from taskq.models import TaskRun

from .capped import CappedCount, capped_count


@dataclass(frozen=True, slots=True)
class Tab:
    """One tab: ``key`` is its value in the address, ``states`` are the states that it shows, all if empty."""

    key: str
    label: str | Promise
    states: tuple[str, ...] = ()


ALL = Tab("", _("All"))
TABS = (
    ALL,
    Tab("waiting", _("Waiting"), (states.PENDING, states.RETRY, states.RECEIVED)),
    Tab("started", _("Started"), (states.STARTED,)),
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
    return {tab.key: capped_count(_rows(tab, runs)) for tab in TABS}


def _rows(tab: Tab, runs: QuerySet[TaskRun]) -> QuerySet[TaskRun]:
    if not tab.states:
        return runs.order_by("-id")
    return runs.filter(state__in=tab.states).order_by("state", "-id")
