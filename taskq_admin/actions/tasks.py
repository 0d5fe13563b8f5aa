"""Tasks: retry, run again, change, revoke, terminate, move, prioritize, delete. Acts through ``taskq.control``.

Each function says what really happened, also if a task has ended, or has begun, since the page was shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

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
from taskq.exceptions import CannotRetry
from taskq.models import TaskRun
from taskq_admin.badges import short
from taskq_admin.queries import again, runs
from taskq_admin.queries.progress import BULK

from .base import Action, Report, Who, pages_of, register
from .forms import Changed, Move, Prioritize, Terminate, parsed
from .outcomes import report

#: What ``Counts`` calls what is called otherwise here.
_RENAMED = {"held": "claimed", "not_waiting": "ended"}
_NOT_BULK = gettext_lazy(
    "A task that acts on many does so in the name of who began it, and can't be run again: begin it anew from the list."
)
#: Sentences about single tasks that a report has besides its numbers.
_EXAMPLES = 3


# -- what they do


def retry(ids: Sequence[str], data: Mapping[str, Any], who: Who) -> Report:
    """Retry in place: an ended task waits again under its id."""
    if len(ids) == 1:
        return _ran(_again(ids[0], who), who)
    ids, bulk = _without_bulk(ids)
    return _counted("retried", control.retry_many(ids, by=who.name, reason=who.reason), bulk)


def rerun(ids: Sequence[str], data: Mapping[str, Any], who: Who) -> Report:
    """Run again as new: an ended task stays as it is, and another one is sent with its arguments."""
    if len(ids) == 1 and who.since is None:
        return _ran(_again(ids[0], who, new=True), who)
    ids, bulk = _without_bulk(ids)
    counts = control.retry_many(ids, new=True, since=who.since, by=who.name, reason=who.reason)
    return _counted("rerun", counts, bulk)


def retry_changed(ids: Sequence[str], data: Mapping[str, Any], who: Who) -> Report:
    """Run again with other arguments, another queue, or at another time. What was left as it was stays exactly so."""
    before = again.texts(ids[0])
    changes: dict[str, Any] = {
        name: parsed(data[name]) for name in ("args", "kwargs") if data[name] and data[name] != before.get(name)
    }
    changes |= {name: data[name] for name in ("queue", "countdown", "eta") if data[name] not in (None, "")}
    return _ran(_again(ids[0], who, new=bool(data["new"]), **changes), who)


def revoke(ids: Sequence[str], data: Mapping[str, Any], who: Who) -> Report:
    """Revoke: what waits never starts. What runs goes on."""
    return _revoked(ids, "asked")


def terminate(ids: Sequence[str], data: Mapping[str, Any], who: Who) -> Report:
    """Revoke, and end what runs."""
    options = {"grace": data["grace"]} if data.get("grace") else {}
    return _revoked(ids, "terminated", terminate=True, signal=data["signal"], **options)


def move(ids: Sequence[str], data: Mapping[str, Any], who: Who) -> Report:
    """Move what waits to another queue."""
    return _counted("moved", control.move(ids, data["queue"]))


def prioritize(ids: Sequence[str], data: Mapping[str, Any], who: Who) -> Report:
    """Give what waits another priority."""
    return _counted("prioritized", control.prioritize(ids, data["priority"]))


def delete(ids: Sequence[str], data: Mapping[str, Any], who: Who) -> Report:
    """Delete the rows of ended tasks."""
    return _counted("deleted", control.delete_runs(ids))


def _without_bulk(ids: Sequence[str]) -> tuple[Sequence[str], int]:
    """Leave out the tasks that act on many in the name of who began them; return how many these are."""
    bulk = runs.named(BULK, ids)
    return [task_id for task_id in ids if task_id not in bulk], len(bulk)


def _again(task_id: str, who: Who, **options: Any) -> Retried:
    if runs.named(BULK, [task_id]):
        raise CannotRetry("refused", str(_NOT_BULK))
    try:
        return control.retry(task_id, by=who.name, reason=who.reason, **options)
    except (TypeError, KombuError) as error:  # what was typed is of a wrong kind, or can't be sent
        raise ValueError(str(error)) from error


def _ran(retried: Retried, who: Who) -> Report:
    name = short(retried.name) or "-"
    if retried.new:
        text = format_html(
            _("The task {name} runs again as the new task {id}."), name=name, id=_link(retried.task_id, who)
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


def _link(task_id: str, who: Who) -> str:
    """Return the id as a link to its page, if the site has one."""
    site = getattr(who.request, "current_app", None)
    try:
        page = reverse("admin:taskq_taskrun_by_task_id", args=[task_id], current_app=site)
    except NoReverseMatch:
        return task_id
    return format_html('<a href="{}">{}</a>', page, task_id)


def _counted(done: str, counts: Counts, bulk: int = 0) -> Report:
    refused = {_RENAMED.get(key, key): value for key, value in counts.refused.items()}
    if bulk:
        refused["refused"] = refused.get("refused", 0) + bulk
        counts.examples.setdefault("refused", str(_NOT_BULK))
    found = report({done: counts.done} | refused, counts.ids)
    for sentence in list(counts.examples.values())[:_EXAMPLES]:
        found.say(sentence, INFO)
    return found


def _revoked(ids: Sequence[str], told: str, **options: Any) -> Report:
    # Another broker's messages are not looked at: whether a worker holds one is not known.
    told = told if database_broker_alias() else "noted"
    before = runs.states_of(ids)
    control.revoke(list(ids), **options)
    after = runs.states_of(ids)
    became: Counter[str] = Counter()
    touched: list[str] = []
    going_on: list[str] = []
    for task_id in ids:
        if before.get(task_id, "") in states.READY_STATES:
            became["ended"] += 1
            continue
        state = after.get(task_id)
        end = "revoked" if state == states.REVOKED else "ended" if state in states.READY_STATES else told
        became[end] += 1
        if end != "ended":
            touched.append(task_id)
        if end == told:
            going_on.append(task_id)
    found = report(became, touched)
    if options.get("terminate") or not going_on:
        return found
    bulk = runs.named(BULK, going_on)
    if bulk:
        found.say(_("A task that acts on many stops after those that it acts on now."), INFO)
    if len(going_on) > len(bulk):
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


def _begin_with(request: HttpRequest, rows: Sequence[TaskRun]) -> Mapping[str, Any]:
    """Fill in the arguments of one task, for who may see them."""
    pages = pages_of(request, "taskrun")
    visible = len(rows) == 1 and pages is not None and pages.has_payload_permission(request)
    texts = again.texts(rows[0].task_id) if visible else {}
    return {"new": True, **texts}


def _refusal(run: TaskRun) -> str:
    return str(_NOT_BULK) if run.name == BULK else again.refusal(run)


def _refuses_changes(run: TaskRun) -> str:
    return str(_NOT_BULK) if run.name == BULK else ""


_OF: dict[str, Any] = {"of": "taskrun", "bulk": True}

register(
    Action(
        key="retry",
        label=gettext_lazy("Retry"),
        permission="taskq.retry_taskrun",
        act=retry,
        applies=_may_be_retried,
        refuses=_refusal,
        **_OF,
    ),
    Action(
        key="rerun",
        label=gettext_lazy("Run again as new"),
        permission="taskq.retry_taskrun",
        act=rerun,
        applies=_has_ended,
        refuses=_refusal,
        **_OF,
    ),
    Action(
        key="change",
        of="taskrun",
        label=gettext_lazy("Run again with changes"),
        permission="taskq.run_taskrun",
        act=retry_changed,
        question=gettext_lazy("What is left empty stays as it was."),
        form=Changed,
        initial=_begin_with,
        single=True,
        refuses=_refuses_changes,
        applies=_has_ended,
    ),
    Action(
        key="revoke",
        label=gettext_lazy("Revoke"),
        permission="taskq.revoke_taskrun",
        act=revoke,
        question=gettext_lazy(
            "What waits will never start, with what depends on it in its workflow. What runs goes on."
        ),
        destroys=True,
        applies=_goes_on,
        **_OF,
    ),
    Action(
        key="terminate",
        label=gettext_lazy("Terminate"),
        permission="taskq.terminate_taskrun",
        act=terminate,
        question=gettext_lazy("What waits will never start. What runs is ended by a signal to its process."),
        form=Terminate,
        destroys=True,
        applies=_goes_on,
        **_OF,
    ),
    Action(
        key="move",
        label=gettext_lazy("Move"),
        permission="taskq.move_taskrun",
        act=move,
        question=gettext_lazy("To which queue? What a worker holds already stays where it is."),
        form=Move,
        applies=_waits,
        **_OF,
    ),
    Action(
        key="prioritize",
        label=gettext_lazy("Change the priority"),
        permission="taskq.prioritize_taskrun",
        act=prioritize,
        form=Prioritize,
        applies=_waits,
        **_OF,
    ),
    Action(
        key="delete",
        label=gettext_lazy("Delete"),
        permission="taskq.delete_taskrun",
        act=delete,
        question=gettext_lazy("The rows of these tasks are deleted, with results, attempts and events. For good."),
        destroys=True,
        applies=_has_ended,
        flag=DELETION,
        **_OF,
    ),
)
