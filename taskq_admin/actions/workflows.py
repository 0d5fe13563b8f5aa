"""Workflows: retry what has failed, and revoke the whole.

From one node of it: retry and revoke of the task, which go on with what depends on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.contrib.messages import INFO, WARNING
from django.core.exceptions import PermissionDenied
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from taskq import control
from taskq_admin.queries.workflows import FAILED, Workflow

from .base import Action, Report, Who, register


class Terminate(forms.Form):
    """Whether tasks that run are ended too."""

    terminate = forms.BooleanField(label=gettext_lazy("End running tasks too"), required=False)


def _has_failed(row: Any) -> bool:
    """Tell whether the page of a workflow offers a retry; a node alone does not say."""
    return not isinstance(row, Workflow) or row.counts[FAILED] > 0


def _goes_on(row: Any) -> bool:
    return not isinstance(row, Workflow) or not row.ended


def retry(ids: Sequence[str], data: Mapping[str, Any], who: Who) -> Report:
    """Retry the failed tasks of workflows in place."""
    report = Report()
    for root_id in ids:
        counts = control.retry_workflow(root_id, by=who.name, reason=who.reason)
        report.done += counts.done
        for sentence in counts.examples.values():
            report.say(sentence, WARNING)
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


register(
    Action(
        key="retry",
        of="node",
        label=gettext_lazy("Retry what failed"),
        permission="taskq.retry_taskrun",
        act=retry,
        applies=_has_failed,
        question=gettext_lazy(
            "All failed tasks of this workflow run again with their original arguments. What failed with them waits "
            "for them. Tasks that have succeeded do not run again, and errbacks that ran have run."
        ),
    ),
    Action(
        key="revoke",
        of="node",
        label=gettext_lazy("Revoke the whole"),
        permission="taskq.revoke_taskrun",
        act=revoke,
        applies=_goes_on,
        form=Terminate,
        question=gettext_lazy("All tasks of this workflow that have not ended are revoked, for good."),
        destroys=True,
    ),
)
