"""Whether a task can be run again, and with which arguments: for buttons and forms. ``taskq.control`` has the say."""

from __future__ import annotations

import json
import re
from typing import Any

from django.db.models.functions import Left, Right
from django.utils.translation import gettext as _

from taskq import states
from taskq.calls.never_again import why_never
from taskq.conf import settings
from taskq.models import TaskRun

from . import runs
from .payloads import LIMIT

# The notes behind the arguments, which say that some are masked: no list and no object in JSON ends so.
_MASKED = re.compile(r'\}, \{"masked": true[^{}\[\]]*\}(, "seal:[0-9a-f]{64}")?\]\Z')
_TAIL = 300
_WAITING = frozenset({states.PENDING, states.RECEIVED, states.RETRY, states.REJECTED})


def has_ended(run: TaskRun) -> bool:
    """Tell whether a task has ended, also one that raised ``Ignore`` and keeps a state of its own."""
    return run.state in states.READY_STATES or (run.finished_at is not None and run.state not in _WAITING)


def refusal(run: TaskRun) -> str:
    """Return why a task can't be run again with its own arguments, empty if it seems that it can."""
    known: str | None = run.__dict__.get("_refusal")
    if known is None:
        known = run.__dict__["_refusal"] = _refusal(run)
    return known


def refuses_changes(run: TaskRun) -> str:
    """Return why a task can't be run again with other arguments either, empty if it can."""
    return why_never(run.name)


def _refusal(run: TaskRun) -> str:
    if reason := why_never(run.name):
        return reason
    rows = TaskRun.objects.using(settings.DATABASE).filter(pk=run.pk)
    end = rows.values_list(Right("arguments", _TAIL), flat=True).first()
    if not end and runs.never_ran(run):
        return _("It never ran, so its arguments are not here: if a task before it can be retried, it follows.")
    if not end:
        return _("The arguments of this task were not kept.")
    if _MASKED.search(end):
        return _("Sensitive arguments are masked in what is stored, so they can't be sent again.")
    return ""


def texts(task_id: str) -> dict[str, str]:
    """Return ``args`` and ``kwargs`` of a task as JSON; nothing if they are masked, unreadable, or too long."""
    rows = TaskRun.objects.using(settings.DATABASE).filter(task_id=task_id)
    text = rows.values_list(Left("arguments", LIMIT + 1), flat=True).first()
    if not text or len(text) > LIMIT or _MASKED.search(text):
        return {}
    try:
        match json.loads(text):
            case [list() as args, dict() as kwargs, *_]:
                return {"args": _text(args), "kwargs": _text(kwargs)}
    except (ValueError, RecursionError):
        pass
    return {}


def _text(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    # Half of a surrogate pair can't be shown, but for its escape.
    return text if text.encode(errors="replace").decode() == text else json.dumps(value)
