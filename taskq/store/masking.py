"""Masks the arguments of TaskRuns that were sent by a process that does not know the task. Called by ``settle``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from django.db.models import Case, F, Q, TextField, Value, When
from django.db.models.lookups import LessThanOrEqual

from taskq.calls import masking
from taskq.calls.registry import tasks
from taskq.engines import Engine
from taskq.exceptions import SignatureMismatch
from taskq.messages import arguments
from taskq.messages.protocol import MOST_IN_MAIN
from taskq.models import TaskRun
from taskq.models.fields import Octets
from taskq.records import Settlement

from .kept_messages import sensitive_names

#: Rows that are read at once.
_AT_ONCE = 50
_SMALL = Case(
    When(LessThanOrEqual(Octets("arguments"), MOST_IN_MAIN), then=F("arguments")),
    default=Value(None),
    output_field=TextField(),
)


def mask_arguments(engine: Engine, settled: Sequence[Settlement]) -> None:
    """Mask sensitive arguments in the rows of settled tasks, in the caller's transaction.

    The rows are read, but for arguments that no main process opens. Where the task has run, its settlement has these as
    its process has masked them. Of the others they are masked as a whole if some may be sensitive.
    """
    shown = {(s.task_id, s.name): s.arguments for s in settled if s.arguments is not None}
    # A task that its process refused was started, but did not run.
    ids = sorted(s.task_id for s in settled if s.arguments is not None or not s.runtime or s.name in tasks.guarded)
    for start in range(0, len(ids), _AT_ONCE):
        _mask(engine, ids[start : start + _AT_ONCE], shown)


def _mask(engine: Engine, ids: Sequence[str], shown: Mapping[tuple[str, str], str]) -> None:
    runs = TaskRun.objects.using(engine.alias)
    rows = runs.filter(task_id__in=ids, arguments__isnull=False).order_by("task_id")
    large: list[str] = []
    for task_id, name, text in rows.annotate(small=_SMALL).values_list("task_id", "name", "small"):
        if text is None:
            large.append(task_id)
        elif (masked := _masked(name, text)) != text:
            runs.filter(task_id=task_id).update(arguments=_sealed(masked, text, task_id, name))
    if large:
        named = sensitive_names("arguments") or Q()
        found = runs.filter(Q(name__in=tasks.guarded) | named, task_id__in=large)
        for task_id, name in found.values_list("task_id", "name"):
            text = arguments.seal(shown.get((task_id, name), arguments.ALL_MASKED), task_id, name)
            # Most senders have masked them already.
            runs.filter(~Q(arguments=text), task_id=task_id).update(arguments=text)


def _sealed(masked: str | None, text: str, task_id: str, name: str) -> str | None:
    """Return the masked text with a seal, if the text that it is made of had one."""
    try:
        arguments.verify(text, task_id, name)
    except SignatureMismatch:
        return masked
    return arguments.seal(masked, task_id, name)


def _masked(name: str, text: Any) -> str | None:
    """Return the text of the arguments with sensitive values masked, ``None`` if it can't be looked through."""
    try:
        args, kwargs, *_ = json.loads(text)
        found = masking.shown(name, args, kwargs)
    except Exception:  # the row may hold anything, and no error of it may cost the settlements of others
        return None
    return text if found is None or [*found] == [args, kwargs] else json.dumps([*found, {"masked": True}])
