"""Workers: what remote control can have them do. Its actions are registered with ``base.register``.

Each sends a command to the chosen workers and waits for their answers, at most ``PATIENCE`` seconds. What it says is
what they have answered, or that they have not.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from django.contrib.messages import ERROR, SUCCESS, WARNING
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from taskq import control
from taskq.models import Worker
from taskq_admin import parameters
from taskq_admin.badges import short
from taskq_admin.queries import durations, throughput, workers

from . import worker_forms as forms
from .base import Action, Report, Text, Who, register

#: Seconds in which workers have to answer.
PATIENCE = 1.6

CONTROL, SHUTDOWN, EVENTS = (f"taskq.{name}" for name in ("control_worker", "shutdown_worker", "toggle_events"))


def ask(names: Sequence[str], command: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Send a command to workers; return the answers by name of those that answered in time."""
    replies = control.broadcast(command, dict(arguments), list(names), reply=True, timeout=PATIENCE)
    return {name: answer for reply in replies or () for name, answer in reply.items()}


def tell(command: str, ids: Sequence[str], data: Mapping[str, Any], who: Who) -> Report:
    """Have workers obey a command, whose arguments are ``data``; say what each has answered."""
    by_token = _names(ids)
    answers = ask(list(by_token.values()), command, data)
    report = Report(touched=[token for token, name in by_token.items() if _is_ok(answers.get(name))])
    report.done = len(report.touched or ())
    for name in sorted(set(by_token.values())):
        report.say(*_sentence(name, answers.get(name)))
    return report


def _names(ids: Sequence[str]) -> dict[str, str]:
    return {row.token: row.name for row in workers.listed().filter(token__in=ids)}


def _is_ok(answer: Any) -> bool:
    return answer is not None and not (isinstance(answer, dict) and "error" in answer)


def _sentence(name: str, answer: Any) -> tuple[str, int]:
    if answer is None:
        text = _("The worker %(name)s did not answer within %(time)s: whether it has obeyed is not known.")
        return text % {"name": short(name), "time": durations.words(PATIENCE)}, WARNING
    words = answer.get("ok", answer.get("error", "")) if isinstance(answer, dict) else answer
    return f"{short(name)}: {short(words)}", SUCCESS if _is_ok(answer) else ERROR


def ping(ids: Sequence[str], data: Mapping[str, Any], who: Who) -> Report:
    """Ask workers whether they are there; say how long that took."""
    report, names, began = Report(touched=[]), sorted(set(_names(ids).values())), time.monotonic()
    answers = ask(names, "ping", {})
    took = durations.words(time.monotonic() - began)
    for name in names:
        if name in answers:
            report.done += 1
            report.say(_("The worker %(name)s answers, within %(time)s.") % {"name": short(name), "time": took})
        else:
            report.say(*_sentence(name, None))
    return report


def shutdown(ids: Sequence[str], data: Mapping[str, Any], who: Who) -> Report:
    """Have workers end. There is no answer to that command: a worker that answers to a ping before it has got it."""
    by_token = _names(ids)
    names = list(by_token.values())
    there = ask(names, "ping", {})
    control.shutdown(destination=names)
    report = Report(done=len(by_token))
    for name in sorted(set(names)):
        if name in there:
            text = _(
                "The worker %(name)s was told to shut down: it takes no more tasks, and ends when those that run have."
            )
            report.say(text % {"name": short(name)})
        else:
            text = _("The worker %(name)s was told to shut down, but does not answer: it may be gone, or hang.")
            report.say(text % {"name": short(name)}, WARNING)
    return report


def _lives(worker: Any) -> bool:
    return getattr(worker, "state", "") not in (Worker.LOST, Worker.CONSUMER)


def _scales(worker: Any) -> Text:
    return _("The pool has one thread.") if workers.info(worker).pool == "solo" else ""


def _events(worker: Any, on: bool) -> bool:
    # One that does not say may have either.
    return _lives(worker) and workers.info(worker).activity.events is not on


def _queues(request: HttpRequest, rows: Sequence[Any]) -> Mapping[str, Any]:
    return {"choices": sorted({name for row in rows for name in workers.info(row).queues})}


def _tasks(request: HttpRequest, rows: Sequence[Any]) -> Mapping[str, Any]:
    """Suggest the tasks that this process knows, and those that ended lately: another program's are among these.

    To ask the worker would have the page wait for one that does not answer. Other names can be typed. Who may not see
    tasks gets none.
    """
    if not request.user.has_perm("taskq.view_taskrun"):
        return {}
    return {"choices": sorted({*parameters.choices(), *throughput.names()})}


def _command(command: str, label: Text, permission: str = CONTROL, **more: Any) -> Action:
    more.setdefault("applies", _lives)
    return Action(
        key=more.pop("key", command.replace("_", "-")),
        of="worker", label=label, permission=permission, act=partial(tell, command), **more,
    )  # fmt: skip


_EVENTS_ON = gettext_lazy(
    "The worker then tells monitors of each task that it receives, starts and ends: Flower, manage.py taskevents, and "
    "the timeline of a task. That costs some messages for each task, and rows where events are kept. It holds until "
    "the worker ends; workers that start later follow TASKQ_SEND_TASK_EVENTS."
)
_EVENTS_OFF = gettext_lazy(
    "Monitors hear no more of the worker's tasks, only of the worker itself. States and results are written as before. "
    "It holds until the worker ends; workers that start later follow TASKQ_SEND_TASK_EVENTS."
)

register(
    Action(key="ping", of="worker", label=gettext_lazy("Ping"), permission=CONTROL, act=ping, applies=_lives),
    _command("pool_grow", gettext_lazy("Grow"), form=forms.Size, refuses=_scales),
    _command("pool_shrink", gettext_lazy("Shrink"), form=forms.Size, refuses=_scales),
    _command("autoscale", gettext_lazy("Autoscale"), form=forms.Autoscale, refuses=_scales),
    _command("add_consumer", gettext_lazy("Add queue"), form=forms.AddQueue),
    _command("cancel_consumer", gettext_lazy("Cancel queue"), form=forms.CancelQueue, initial=_queues),
    _command("rate_limit", gettext_lazy("Rate limit"), form=forms.RateLimit, initial=_tasks),
    _command("time_limit", gettext_lazy("Time limit"), form=forms.TimeLimit, initial=_tasks),
    _command(
        "enable_events",
        gettext_lazy("Events on"),
        EVENTS,
        question=_EVENTS_ON,
        applies=partial(_events, on=True),
    ),
    _command(
        "disable_events",
        gettext_lazy("Events off"),
        EVENTS,
        question=_EVENTS_OFF,
        applies=partial(_events, on=False),
    ),
    _command(
        "pool_restart",
        gettext_lazy("Restart pool"),
        form=forms.Restart,
        question=gettext_lazy("Each process of the pool is replaced when its task has ended."),
    ),
    Action(
        key="shutdown",
        of="worker",
        label=gettext_lazy("Shut down"),
        permission=SHUTDOWN,
        act=shutdown,
        question=gettext_lazy(
            "The worker takes no more tasks, and ends when those that run have ended, or go back to their queue. "
            "Nothing starts it again, unless a supervisor does."
        ),
        destroys=True,
        applies=_lives,
    ),
)
