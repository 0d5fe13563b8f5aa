"""Workflows: retry what has failed, and revoke the whole.

From one node of it: retry and revoke of the task, which go on with what depends on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.contrib.messages import INFO, WARNING
from django.core.exceptions import PermissionDenied
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from taskq import control
from taskq_admin.queries import workflows
from taskq_admin.queries.wanted import Wanted
from taskq_admin.queries.workflows import FAILED, Workflow

from . import bulk
from .base import Report, Who, define, get, register
from .tasks import counted, linked

#: Failed tasks from which on a task retries them, and not the request.
MANY = 1000


class Terminate(forms.Form):
    """Whether tasks that run are ended too."""

    terminate = forms.BooleanField(label=gettext_lazy("End running tasks too"), required=False)


def _has_failed(row: Any) -> bool:
    """Tell whether the page of a workflow offers a retry; a node alone does not say."""
    return not isinstance(row, Workflow) or row.counts[FAILED] > 0


def _goes_on(row: Any) -> bool:
    return not isinstance(row, Workflow) or not row.ended


def retry(ids: Sequence[str], data: Mapping[str, Any], who: Who) -> Report:
    """Retry the failed tasks of workflows in place; if they are many, by a task that tells how far it is."""
    report, begun = Report(), False
    for root_id in ids:
        if workflows.has_many_failed(root_id, MANY):
            _begin(root_id, who, report)
            begun = True
            continue
        counts = control.retry_workflow(root_id, by=who.name, reason=who.reason)
        report.done += counts.done
        for sentence in counts.examples.values():
            report.say(sentence, WARNING)
    if begun:
        return report
    if report.done:
        text = ngettext(
            "%(count)s failed task runs again; what depends on it waits for it.",
            "%(count)s failed tasks run again; what depends on them waits for them.",
            report.done,
        )
        report.say(text % {"count": report.done})
    elif not report.messages:
        report.say(_("Nothing was retried: no task of it has failed whose message was kept."), WARNING)
    return report


def retry_tasks(ids: Sequence[str], data: Mapping[str, Any], who: Who) -> Report:
    """Retry some of the failed tasks of a workflow in place."""
    return counted("retried", control.retry_many(ids, by=who.name, reason=who.reason))


def _begin(root_id: str, who: Who, report: Report) -> None:
    action, site = get("node", "retry"), getattr(who.request, "current_app", None) or "admin"
    assert action is not None
    run = bulk.begin(action, Wanted(root=root_id, tab="failed"), {}, who, site)
    report.done += 1
    text = format_html("{} {}", _("A task does it, and tells how far it is:"), linked(run.task_id, who))
    report.say(text, INFO)


def revoke(ids: Sequence[str], data: Mapping[str, Any], who: Who) -> Report:
    """Revoke all tasks of workflows that have not ended. Ending those that run needs a permission of its own."""
    report, terminate = Report(), bool(data.get("terminate"))
    if terminate and not who.may("taskrun", "terminate"):
        raise PermissionDenied
    for root_id in ids:
        report.done += control.revoke_workflow(root_id, terminate=terminate)
    if not report.done:
        return report.say(_("Nothing was revoked: no task of it waits or runs any more."), INFO)
    text = ngettext(
        "%(count)s task was revoked, or told to stop because a worker holds it; and what depends on it.",
        "%(count)s tasks were revoked, or told to stop because a worker holds them; and what depends on them.",
        report.done,
    )
    report.say(text % {"count": report.done})
    if not terminate:
        report.say(_("A task that runs already goes on to its end; terminate it to end it now."), INFO)
    return report


_RETRY = gettext_lazy(
    "All failed tasks of this workflow run again with their original arguments. What failed with them waits "
    "for them. Tasks that have succeeded do not run again, and errbacks that ran have run."
)
_REVOKE = gettext_lazy("All tasks of this workflow that have not ended are revoked, for good.")

register(
    define(
        "node",
        "retry",
        gettext_lazy("Retry what failed"),
        "retry_taskrun",
        retry,
        on_tasks=retry_tasks,
        question=_RETRY,
        applies=_has_failed,
    ),
    define(
        "node",
        "revoke",
        gettext_lazy("Revoke the whole"),
        "revoke_taskrun",
        revoke,
        question=_REVOKE,
        form=Terminate,
        destroys=True,
        applies=_goes_on,
    ),
)
