"""The dependents of a task, read from frozen signatures as messages and rows carry them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

from kombu.utils.json import loads

from taskq.messages.tracing import trace_of
from taskq.records import Unreachable

from .fields import as_list
from .types import CHAIN, CHORD, GROUP, TASK, Sig, body_of, kind_of

__all__ = ["dependents", "dependents_of", "failing_tasks_of"]


def dependents(embed: Mapping[str, Any]) -> list[Unreachable]:
    """Return the dependents of the task with ``embed``: the rest of its chain, and callbacks with an id.

    ``group_id`` is set for a member of a group that has a ``Group`` row: the group fails too. The body of the task's
    own chord is not included: it is in the ``Group`` row.
    """
    after = [*reversed(as_list(embed.get("chain"))), *as_list(embed.get("callbacks"))]
    return list(_walk(after))


def dependents_of(sig: str | Mapping[str, Any]) -> list[Unreachable]:
    """Return every task with an id of the frozen ``sig`` (also as ``NewGroup.body``), in the order of running."""
    return list(_walk([_decoded(sig)]))


def failing_tasks_of(sig: str | Mapping[str, Any]) -> list[tuple[dict[str, Any], list[Any]]]:
    """Return the first tasks of the frozen ``sig``, a chord's body that can't run: their headers and their errbacks.

    A body that is a group has several first tasks; each of them calls its errbacks.
    """
    return [(_headers(first), as_list(first["options"].get("link_error"))) for first in _first_tasks(_revived(sig))]


def _headers(first: Sig) -> dict[str, Any]:
    given = first["options"].get("headers")
    trace = trace_of(given) if isinstance(given, Mapping) else {}
    return {"id": first["options"].get("task_id"), "task": first["task"], **trace}


def _revived(sig: str | Mapping[str, Any]) -> Sig:
    """Return ``sig`` with the values of its errbacks, such as bytes and dates, as they were given."""
    try:
        return cast(Sig, loads(sig)) if isinstance(sig, str) else sig
    except Exception:  # a type that the project has registered elsewhere
        return _decoded(sig)


def _decoded(sig: str | Mapping[str, Any]) -> Sig:
    decoded: Sig = json.loads(sig) if isinstance(sig, str) else sig
    return decoded


def _walk(sigs: Iterable[Sig]) -> Iterator[Unreachable]:
    waiting = list(reversed(list(sigs)))
    while waiting:
        sig = waiting.pop()
        kind, options, kwargs = kind_of(sig), sig["options"], sig["kwargs"]
        after = [*reversed(as_list(options.get("chain"))), *as_list(options.get("link"))]
        if kind == TASK:
            if options.get("task_id"):
                # As rows have it: another program may have written a number.
                yield Unreachable(str(options["task_id"]), sig["task"], _group_that_counts(options))
        elif kind == CHORD:
            after = [*_listed(kwargs.get("header")), body_of(sig), *after]
        else:
            after = [*_listed(sig), *after]
        waiting += reversed(after)


def _group_that_counts(options: Mapping[str, Any]) -> str:
    """Return the group that counts a task, if it was sent: sending writes ``group_index`` into the options."""
    return str(options.get("group_id") or "") if options.get("group_index") is not None else ""


def _listed(header: Any) -> list[Sig]:
    return list((header["kwargs"].get("tasks") if isinstance(header, Mapping) else header) or ())


def _first_tasks(sig: Sig) -> list[Sig]:
    """Return the first tasks of ``sig``; for a chord those of its body, which have the chord's errbacks."""
    kind = kind_of(sig)
    if kind == CHAIN:
        return _first_tasks(_listed(sig)[0]) if _listed(sig) else []
    if kind == CHORD:
        return _first_tasks(body_of(sig))
    return [first for member in _listed(sig) for first in _first_tasks(member)] if kind == GROUP else [sig]
