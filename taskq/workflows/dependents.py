"""The dependents of a task, read from frozen signatures as messages and rows carry them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from taskq.records import Unreachable

from .fields import as_list
from .types import CHAIN, CHORD, GROUP, TASK, Sig, body_of, kind_of

__all__ = ["dependents", "dependents_of", "errbacks_of"]


def dependents(embed: Mapping[str, Any]) -> list[Unreachable]:
    """Return what can never run once the task with ``embed`` has failed: the rest of its chain, callbacks with an id.

    ``group_id`` is set for what counts for a group that exists already, so that it fails in
    turn. The chord that the task itself is a member of is not in it: its ``Group`` row has the body.
    """
    after = [*reversed(as_list(embed.get("chain"))), *as_list(embed.get("callbacks"))]
    return list(_each(after))


def dependents_of(sig: str | Mapping[str, Any]) -> list[Unreachable]:
    """Return every task of the frozen ``sig`` (also as ``NewGroup.body``), in the order in which they would run.

    As for ``dependents``. What has no id is left out: nobody can wait for it.
    """
    return list(_each([_decoded(sig)]))


def errbacks_of(sig: str | Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the errbacks to call when the frozen ``sig``, a chord's body, fails because of a member: each once."""
    found: list[dict[str, Any]] = []
    for first in _first(_decoded(sig)):
        found += [dict(errback) for errback in as_list(first["options"].get("link_error")) if errback not in found]
    return found


def _decoded(sig: str | Mapping[str, Any]) -> Sig:
    decoded: Sig = json.loads(sig) if isinstance(sig, str) else sig
    return decoded


def _each(sigs: Iterable[Sig]) -> Iterator[Unreachable]:
    waiting = list(reversed(list(sigs)))
    while waiting:
        sig = waiting.pop()
        kind, options, kwargs = kind_of(sig), sig["options"], sig["kwargs"]
        after = [*reversed(as_list(options.get("chain"))), *as_list(options.get("link"))]
        if kind == TASK:
            if options.get("task_id"):
                yield Unreachable(options["task_id"], sig["task"], _group_that_counts(options))
        elif kind == CHORD:
            after = [*_listed(kwargs.get("header")), body_of(sig), *after]
        else:
            after = [*_listed(sig), *after]
        waiting += reversed(after)


def _group_that_counts(options: Mapping[str, Any]) -> str:
    """Return the group that counts a task: one that was sent has put its id and the place into the options."""
    return options.get("group_id") or "" if options.get("group_index") is not None else ""


def _listed(header: Any) -> list[Sig]:
    return list((header["kwargs"].get("tasks") if isinstance(header, Mapping) else header) or ())


def _first(sig: Sig) -> list[Sig]:
    """Return the tasks that ``sig`` would run first; of a chord, which has its errbacks there, those of the body."""
    kind = kind_of(sig)
    if kind == CHAIN:
        return _first(_listed(sig)[0]) if _listed(sig) else []
    if kind == CHORD:
        return _first(body_of(sig))
    return [first for member in _listed(sig) for first in _first(member)] if kind == GROUP else [sig]
