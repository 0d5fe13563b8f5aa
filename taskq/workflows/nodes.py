"""The nodes of a frozen canvas: each task, sent or not, and its predecessor. For reading, drawing and revoking."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from taskq.records import NewNode

from .types import CHAIN, CHORD, GROUP, TASK, Sig, body_of, kind_of

#: Values of ``NewNode.kind``: a task, or the first task of a chord's body.
KIND_TASK, KIND_BODY = "task", "body"
_SAVED = "kept:"
_LONGEST_KEY = 255


@dataclass(frozen=True, slots=True)
class Nodes:
    """The nodes of the frozen ``sig``, in the order of running; its predecessor has the id ``waits_for``.

    They are made each time they are read.
    """

    sig: Sig
    root_id: str
    waits_for: str = ""

    def __iter__(self) -> Iterator[NewNode]:
        return _nodes(self.sig, self.root_id, self.waits_for, "", 0, KIND_TASK)


def _nodes(sig: Sig, root: str, waits_for: str, group: str, position: int, node_kind: str) -> Iterator[NewNode]:
    kind = kind_of(sig)
    if kind == TASK:
        options: dict[str, Any] = sig["options"]
        index = options.get("group_index")
        if not group and index is not None and options.get("group_id"):
            group, position = options["group_id"], index
        yield NewNode(root, options["task_id"], sig["task"], node_kind, group, position, waits_for)
    elif kind == CHAIN:
        *before, last = sig["kwargs"]["tasks"] or (None,)
        for step in before:
            yield from _nodes(step, root, waits_for, "", 0, node_kind)
            waits_for, node_kind = end_of(step), KIND_TASK
        if last is not None:
            yield from _nodes(last, root, waits_for, group, position, node_kind)
    elif kind == GROUP:
        yield from _members(sig, root, waits_for, node_kind)
    else:
        header = sig["kwargs"]["header"]
        yield from _members(header, root, waits_for, node_kind)
        if header["kwargs"]["tasks"]:
            waits_for = header["options"]["task_id"]
        # Behind an empty header the body waits for the chord's predecessor.
        yield from _nodes(body_of(sig), root, waits_for, group, position, KIND_BODY)


def _members(header: Sig, root: str, waits_for: str, node_kind: str) -> Iterator[NewNode]:
    group_id = header["options"]["task_id"]
    for index, member in enumerate(header["kwargs"]["tasks"]):
        yield from _nodes(member, root, waits_for, group_id, index, node_kind)


def end_of(sig: Sig) -> str:
    """Return the id of the task or group at the end of the frozen ``sig``."""
    task_id: str = _end(sig)["options"]["task_id"]
    return task_id


def result_tuple(sig: Sig) -> tuple[Any, Any]:
    """Return the result of the frozen ``sig`` as plain data, without its parents: see ``results.serialization``."""
    last = _end(sig)
    members = map(result_tuple, last["kwargs"]["tasks"]) if kind_of(last) == GROUP else None
    return (last["options"]["task_id"], None), None if members is None else list(members)


def _end(sig: Sig) -> Sig:
    while True:
        kind = kind_of(sig)
        if kind == CHORD:
            sig = body_of(sig)
        elif kind == CHAIN:
            sig = sig["kwargs"]["tasks"][-1]
        else:
            return sig


def saved_group_key(group_id: str) -> str:
    """Return the ``group_id`` of the row that keeps the result tuple of a group."""
    return row_key(_SAVED, group_id)


def row_key(prefix: str, name: str) -> str:
    """Return the ``group_id`` of a row of size 0, which keeps something under ``name``."""
    key = f"{prefix}{name}"
    return key if len(key) <= _LONGEST_KEY else prefix + hashlib.sha256(name.encode()).hexdigest()
