"""Workflows: retry what has failed, and revoke the whole.

From one node of it: retry and revoke of the task, which go on with what depends on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from django import forms
from django.contrib.messages import INFO, WARNING
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from taskq import control, states
from taskq.conf import database_broker_alias
from taskq_admin.queries import workflows
from taskq_admin.queries.wanted import Wanted
from taskq_admin.queries.workflows import FAILED, Workflow

from . import bulk
from .base import Report, Step, Who, define, get, register
from .selection import SAMPLE
from .tasks import counted, linked

#: Tasks from which on another task retries or revokes them, and not the request; and those that are revoked at a time.
MANY, AT_ONCE = 1000, 500


class Revoke(forms.Form):
    """Whether tasks that run are ended too. Before that it says how many tasks there are, and names some."""

    terminate = forms.BooleanField(label=gettext_lazy("End running tasks too"), required=False)
    question: str
    sample: Sequence[str] = ()
    #: Whether another task does it.
    by_task = False


def _revoke_form(request: HttpRequest, rows: Sequence[Any], many: bool, data: Mapping[str, Any] | None) -> forms.Form:
    form, sentences = Revoke(data), [str(_REVOKE)]
    if not many:
        root_id = rows[0].root_id
        count, form.sample = workflows.size(root_id), workflows.sample(root_id, SAMPLE)
        text = ngettext("It has %(count)s task.", "It has %(count)s tasks.", count.value)
        sentences.append(text % {"count": count})
        form.by_task = count.value >= MANY
        if form.by_task:
            sentences.append(_("Another task revokes them part by part, tells how far it is, and can be stopped."))
    form.question = " ".join(sentences)
    return form


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
            _begin("retry", Wanted(root=root_id, tab="failed"), {}, who, report)
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


def _begin(key: str, wanted: Wanted, data: Mapping[str, Any], who: Who, report: Report) -> None:
    action, site = get("node", key), getattr(who.request, "current_app", None) or "admin"
    assert action is not None
    run = bulk.begin(action, wanted, data, who, site)
    report.done += 1
    text = format_html("{} {}", _("A task does it, and tells how far it is:"), linked(run.task_id, who))
    report.say(text, INFO)


def revoke(ids: Sequence[str], data: Mapping[str, Any], who: Who) -> Report:
    """Revoke all tasks of workflows that have not ended. Ending those that run needs a permission of its own."""
    report, terminate = Report(), _may_terminate(data, who)
    large = [root_id for root_id in ids if workflows.size(root_id).value >= MANY]
    for root_id in large:
        _begin("revoke", Wanted(root=root_id), data, who, report)
    others = [root_id for root_id in ids if root_id not in large]
    done = sum(control.revoke_workflow(root_id, terminate=terminate) for root_id in others)
    return _say_revoked(report, done, terminate) if others else report


def _may_terminate(data: Mapping[str, Any], who: Who) -> bool:
    """Tell whether running tasks are ended. Raises ``PermissionDenied`` if the user may not do that."""
    terminate = bool(data.get("terminate"))
    if terminate and not who.may("taskrun", "terminate"):
        raise PermissionDenied
    return terminate


def revoke_in_steps(wanted: Wanted, data: Mapping[str, Any], who: Who) -> tuple[int, Iterable[Step]]:
    """Revoke all tasks of a workflow, a part at a time."""
    terminate, parts = _may_terminate(data, who), control.workflow_parts(wanted.root, AT_ONCE)
    return sum(map(len, parts)), (partial(_revoke_part, ids, terminate) for ids in parts)


def _revoke_part(ids: Sequence[str], terminate: bool) -> tuple[int, Mapping[str, int]]:
    before = workflows.ended(ids)
    control.revoke_workflow_part(ids, terminate=terminate)
    after = workflows.ended(ids)
    became = [after.get(task_id, "") for task_id in ids if task_id not in before]
    revoked = became.count(states.REVOKED)
    told = "noted" if database_broker_alias() is None else "terminated" if terminate else "asked"
    goes_on = became.count("")
    ended = len(ids) - revoked - goes_on
    return len(ids), {"revoked": revoked, told: goes_on, "ended": ended}


def _say_revoked(report: Report, done: int, terminate: bool) -> Report:
    report.done += done
    if not done:
        return report.say(_("Nothing was revoked: no task of it waits or runs any more."), INFO)
    text = ngettext(
        "%(count)s task was revoked, or told to stop because a worker holds it; and what depends on it.",
        "%(count)s tasks were revoked, or told to stop because a worker holds them; and what depends on them.",
        done,
    )
    report.say(text % {"count": done})
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
        make_form=_revoke_form,
        in_steps=revoke_in_steps,
        destroys=True,
        applies=_goes_on,
    ),
)
