"""How far a running task says it is: ``update_state(state="PROGRESS", meta={"done": 3, "total": 10})``. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext_lazy

from taskq import states

_DONE = ("done", "current", "completed", "n")
_ALL = ("total", "of", "all")
_PERCENT = ("percent", "percentage", "progress")
#: The task of ``taskq_admin.actions.bulk``.
BULK = "taskq_admin.bulk"
#: Why nobody runs it again.
NOT_AGAIN = gettext_lazy(
    "A task that acts on many does so in the name of who began it, and can't be run again: begin it anew from the list."
)
#: Meta of more characters is not looked at.
_LONGEST = 4096


@dataclass(frozen=True, slots=True)
class Progress:
    """``percent`` from 0 to 100, and the words beside the bar."""

    percent: float
    words: str


def progress(state: str, meta: str | None) -> Progress | None:
    """Return the progress that the meta of a state of the task's own tells; ``None`` if it tells none."""
    if state in states.ALL_STATES or not meta or len(meta) > _LONGEST:
        return None
    try:
        said = json.loads(meta)
    except (ValueError, RecursionError):
        return None
    return _told(said) if isinstance(said, dict) else None


def report(name: str, text: str | None) -> str:
    """Return what a bulk task of the admin says that it did (so far); empty for other tasks."""
    if name != BULK or not text or len(text) > _LONGEST:
        return ""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    found = said.get("report") if isinstance(said, dict) else None
    return found if isinstance(found, str) else ""


def _told(said: Mapping[str, Any]) -> Progress | None:
    done, whole, percent = (_first(said, keys) for keys in (_DONE, _ALL, _PERCENT))
    if done is not None and whole:
        return Progress(_bounded(100 * done / whole), f"{done:g} / {whole:g}")
    if percent is not None:
        return Progress(_bounded(percent), f"{_bounded(percent):.0f} %")
    return None


def _first(said: Mapping[str, Any], keys: tuple[str, ...]) -> float | None:
    for key in keys:
        value = said.get(key)
        # Neither infinity nor what is no number is smaller.
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e15:
            return float(value)
    return None


def _bounded(percent: float) -> float:
    return min(max(percent, 0.0), 100.0)
