"""Tasks: retry, run again, change, revoke, terminate, move, prioritize, delete. Acts through ``taskq.control``.

Each function says what really happened, also if a task has ended, or has begun, since the page was shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from django import forms
from django.contrib.admin.models import DELETION
from django.contrib.messages import INFO, WARNING
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from kombu.exceptions import KombuError

from taskq import control, states
from taskq.conf import database_broker_alias
from taskq.control import Counts, Retried
from taskq.models import TaskRun
from taskq_admin import parameters
from taskq_admin.badges import short
from taskq_admin.queries import again, runs
from taskq_admin.queries.progress import BULK

from . import revoking
from .base import Report, Who, define, pages_of, register
from .forms import Move, Prioritize, Terminate
from .outcomes import report
from .run_form import CannotFill, Hidden, RunAgainAsJSONForm, RunAgainForm, RunManyAgainForm, arguments_of, given

#: What ``Counts`` calls what is called otherwise here.
_RENAMED = {"held": "claimed", "not_waiting": "ended"}
#: Sentences about single tasks that a report has besides its numbers.
_EXAMPLES = 3


# -- what they do


def retry(ids: Sequence[str], data: Mapping[str, Any], who: Who) -> Report:
    """Retry in place: an ended task waits again under its id."""
    return _again(ids, who)


def rerun(ids: Sequence[str], data: Mapping[str, Any], who: Who) -> Report:
    """Run again as new: an ended task stays as it is, and another one is sent with its arguments."""
    return _again(ids, who, new=True)


def run_changed(ids: Sequence[str], data: Mapping[str, Any], who: Who) -> Report:
    """Run again with other arguments, another queue, or at another time. What was left as it was stays exactly so."""
    changes = given(data, "args", "kwargs", "update_kwargs")
    return _again(ids, who, new=bool(data["new"]), **changes)


def revoke(ids: Sequence[str], data: Mapping[str, Any], who: Who) -> Report:
    """Revoke: what waits never starts. What runs goes on."""
    return _revoked(ids, "asked")


def terminate(ids: Sequence[str], data: Mapping[str, Any], who: Who) -> Report:
    """Revoke, and end what runs."""
    options = {"grace": data["grace"]} if data.get("grace") else {}
    return _revoked(ids, "terminated", terminate=True, signal=data["signal"], **options)


def move(ids: Sequence[str], data: Mapping[str, Any], who: Who) -> Report:
    """Move what waits to another queue."""
    return counted("moved", control.move(ids, data["queue"]))


def prioritize(ids: Sequence[str], data: Mapping[str, Any], who: Who) -> Report:
    """Give what waits another priority."""
    return counted("prioritized", control.prioritize(ids, data["priority"]))


def delete(ids: Sequence[str], data: Mapping[str, Any], who: Who) -> Report:
    """Delete the rows of ended tasks."""
    return counted("deleted", control.delete_runs(ids))


def _again(ids: Sequence[str], who: Who, *, new: bool = False, **changes: Any) -> Report:
    """Run tasks again: one with a sentence about it, many with numbers.

    Who has pressed twice has run each as new once. In place the second press is refused while the task has not ended;
    one that has failed once more in between runs once more.
    """
    options = {"new": new, "since": who.since if new else None, "by": who.name, "reason": who.reason, **changes}
    try:
        if len(ids) == 1 and not who.bulk:
            return _ran(control.retry(ids[0], **options), who)
        return counted("rerun" if new else "retried", control.retry_many(ids, **options))
    except (TypeError, KombuError) as error:  # what was typed is of a wrong kind, or can't be sent
        raise ValueError(str(error)) from error


def _ran(retried: Retried, who: Who) -> Report:
    name = short(retried.name) or "-"
    if retried.new:
        text = format_html(
            _("The task {name} runs again as the new task {id}."), name=name, id=linked(retried.task_id, who)
        )
    else:
        text = format_html(
            _("The task {name} was put into the queue {queue} again."), name=name, queue=short(retried.queue)
        )
    found = Report(done=1, counts={"rerun" if retried.new else "retried": 1}).say(text)
    if not retried.known:
        text = format_html(_("This process does not know the task {name}: it runs if a worker does."), name=name)
        found.say(text, WARNING)
    return found


def linked(task_id: str, who: Who) -> str:
    """Return the id as a link to its page, if the site has one."""
    site = getattr(who.request, "current_app", None)
    try:
        page = reverse("admin:taskq_taskrun_by_task_id", args=[task_id], current_app=site)
    except NoReverseMatch:
        return task_id
    return format_html('<a href="{}">{}</a>', page, task_id)


def counted(done: str, counts: Counts) -> Report:
    """Return what happened to many tasks as a report; ``done`` is the word for those done, see ``outcomes``."""
    refused = {_RENAMED.get(key, key): value for key, value in counts.refused.items()}
    found = report({done: counts.done} | refused, counts.ids)
    for sentence in list(counts.examples.values())[:_EXAMPLES]:
        found.say(sentence, INFO)
    return found


def _revoked(ids: Sequence[str], told: str, **options: Any) -> Report:
    # Another broker's messages are not looked at: whether a worker holds one is not known.
    told = told if database_broker_alias() else "noted"
    became = revoking.revoke(ids, **options)
    counts = {"ended": len(became.ended), "revoked": len(became.revoked), told: len(became.asked)}
    found = report({what: count for what, count in counts.items() if count}, became.touched)
    if options.get("terminate") or not became.asked:
        return found
    bulk = runs.named(BULK, became.asked)
    if bulk:
        found.say(_("A task that acts on many stops after those that it acts on now."), INFO)
    if len(became.asked) > len(bulk):
        found.say(_("A task that runs already goes on to its end; terminate it to end it now."), INFO)
    return found


# -- where they are offered


def _has_ended(run: TaskRun) -> bool:
    return again.has_ended(run)


def _may_be_retried(run: TaskRun) -> bool:
    return again.has_ended(run) and run.state != states.SUCCESS


def _waits(run: TaskRun) -> bool:
    return not again.has_ended(run) and run.started_at is None


def _goes_on(run: TaskRun) -> bool:
    return not again.has_ended(run)


def _changes_form(
    request: HttpRequest, rows: Sequence[TaskRun], many: bool, data: Mapping[str, Any] | None
) -> forms.Form:
    """Return the form for one task, with its arguments for who may see them, or for many."""
    if many:
        return RunManyAgainForm(data)
    row, pages = rows[0], pages_of(request, "taskrun")
    if pages is None or not pages.has_payload_permission(request):
        return RunAgainAsJSONForm(data, {})
    if row.name in parameters.choices():
        run = runs.whole(row.task_id)
        try:
            return RunAgainForm(row.name, data, arguments_of(run or row))
        except Hidden:
            return RunAgainForm(row.name, data, None)
        except CannotFill:
            pass
    return RunAgainAsJSONForm(data, again.texts(row.task_id))


_action = partial(define, "taskrun", bulk=True)
_RETRY = gettext_lazy(
    "What has ended without success waits again under its id, with the arguments it was sent with. Its outcome becomes "
    "an attempt."
)
_RERUN = gettext_lazy(
    "What has ended is sent once more as a new task, with the arguments it was sent with. It stays as it is, and links "
    "to the new one."
)
_END = gettext_lazy("What waits will never start. What runs is ended by a signal to its process.")
_REVOKE = gettext_lazy("What waits will never start, with what depends on it in its workflow. What runs goes on.")
_DELETE = gettext_lazy("The rows of these tasks are deleted, with results, attempts and events. For good.")

register(
    _action(
        "retry",
        gettext_lazy("Retry"),
        "retry_taskrun",
        retry,
        about=_RETRY,
        applies=_may_be_retried,
        refuses=again.refusal,
    ),
    _action(
        "rerun",
        gettext_lazy("Run again as new"),
        "retry_taskrun",
        rerun,
        about=_RERUN,
        applies=_has_ended,
        refuses=again.refusal,
    ),
    _action(
        "change",
        gettext_lazy("Run again with changes"),
        "run_taskrun",
        run_changed,
        make_form=_changes_form,
        applies=_has_ended,
        refuses=again.refuses_changes,
    ),
    _action(
        "revoke",
        gettext_lazy("Revoke"),
        "revoke_taskrun",
        revoke,
        question=_REVOKE,
        destroys=True,
        applies=_goes_on,
    ),
    _action(
        "terminate",
        gettext_lazy("Terminate"),
        "terminate_taskrun",
        terminate,
        question=_END,
        form=Terminate,
        destroys=True,
        applies=_goes_on,
    ),
    _action(
        "move",
        gettext_lazy("Move"),
        "move_taskrun",
        move,
        question=gettext_lazy("To which queue? What a worker holds already stays where it is."),
        form=Move,
        applies=_waits,
    ),
    _action(
        "prioritize",
        gettext_lazy("Change the priority"),
        "prioritize_taskrun",
        prioritize,
        form=Prioritize,
        applies=_waits,
    ),
    _action(
        "delete",
        gettext_lazy("Delete"),
        "delete_taskrun",
        delete,
        question=_DELETE,
        destroys=True,
        applies=_has_ended,
        flag=DELETION,
    ),
)
