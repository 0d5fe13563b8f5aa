"""All that is known of one task, as plain values and as lines of text."""

from __future__ import annotations

from typing import Any

from taskq_admin.queries import columns, payloads, runs

from .tables import fields

#: Times and places, in the order of their lines.
_FIRST = ("task_id", "name", "state", "queue", "priority", "worker", "retries", "progress")
_TIMES = ("created_at", "eta", "started_at", "finished_at", "runtime")
_TEXTS = ("exception", "message", "args", "kwargs", "result", "traceback")


def of(task_id: str) -> dict[str, Any] | None:
    """Return the task as plain values, ``None`` if it has no row. Payloads are texts, large ones are cut."""
    try:
        pk = runs.pk_of(task_id)
    except UnicodeEncodeError:  # half of a surrogate pair
        return None
    run = None if pk is None else runs.find(pk)
    if run is None:
        return None
    (found,) = columns.described([run])
    contents = runs.contents(run, payloads.Space())
    found |= {name: _text(getattr(contents, name)) for name in ("args", "kwargs", "result", "traceback")}
    found["attempts"] = [
        {
            "state": attempt.state,
            "retries": attempt.retries,
            "worker": attempt.worker,
            "started_at": attempt.started_at and attempt.started_at.isoformat(),
            "finished_at": attempt.finished_at and attempt.finished_at.isoformat(),
        }
        for attempt in runs.attempts(task_id, with_errors=False)
    ]
    return found


def lines(found: dict[str, Any]) -> list[str]:
    """Return what ``of`` has returned as lines."""
    values = [(name.replace("_", " "), found[name]) for name in (*_FIRST, *_TIMES)]
    tries = [
        (f"attempt {number}", f"{each['state']} {each['started_at'] or ''} {each['worker']}".strip())
        for number, each in enumerate(found["attempts"], 1)
    ]
    return fields([*values, *tries, *((name, found[name]) for name in _TEXTS)])


def _text(found: payloads.Payload | None) -> str | None:
    if found is None:
        return None
    return f"{found.text}\n{found.note}" if found.note else found.text
