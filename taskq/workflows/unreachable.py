"""Finds the tasks that fail with a task: its dependents, wherever these are named. Called by ``advance``.

A message names the dependents of its task, but for the rest of a long chain, which rows have. Where neither can be
read, the nodes of the workflow tell.
"""

from __future__ import annotations

from collections.abc import Sequence

from kombu.utils.json import loads

from taskq.records import LOOK_UP_IN_ROWS, Unreachable

from . import log_lines, rests
from .dependents import dependents
from .parts import Cause, Pending, dependents_in_parts, is_part
from .port import Body, WorkflowStore


class UnreachableTasks:
    """Reads dependents in the transaction that fails them. ``pending`` gets the work that is too much for it."""

    def __init__(self, store: WorkflowStore, pending: list[Pending]) -> None:
        self._store = store
        self._pending = pending

    def of(self, known: Sequence[Unreachable], cause: Cause) -> tuple[Sequence[Unreachable], str]:
        """Return the ``known`` dependents with those that only rows know, and the group that counts the failed task.

        The group is empty unless the nodes had to be read.
        """
        found = self._with_rests(known, cause)
        if LOOK_UP_IN_ROWS not in found:
            return found, ""
        by_nodes = self._store.dependents(cause.task_id)
        return [*(each for each in found if each != LOOK_UP_IN_ROWS), *by_nodes.unreachable], by_nodes.group_id

    def first_part(self, unreachable: Sequence[Unreachable], cause: Cause) -> Sequence[Unreachable]:
        """Return as many dependents as one transaction fails; leave the others pending."""
        if len(unreachable) <= self._store.most_dependents:
            return unreachable
        first, groups = dependents_in_parts(unreachable, cause.root_id)
        if not groups:
            return first
        *first, others = first  # the last one refers to the row of the others
        self._store.insert(groups, ())
        self._pending.append(Pending.failing(others.task_id, cause))
        return first

    def _with_rests(self, unreachable: Sequence[Unreachable], cause: Cause) -> Sequence[Unreachable]:
        """Return dependents with those in the rests of their chains; leave rests pending if there are too many.

        The sentinel is among them if a row is gone or malformed, or a large row is not named by its reference.
        """
        seen: set[str] = set()
        # Of a foreign chain that has an id twice, a rest may refer to itself.
        while keys := set(rests.references(unreachable)) - seen:
            seen |= keys
            if len(unreachable) > self._store.most_dependents:
                self._pending += [Pending.failing(key, cause) for key in sorted(keys)]
                break
            others = [each for each in unreachable if each.task_id not in keys]
            unreachable = [*others, *self._in_rests(keys, cause)]
        return [each for each in unreachable if each.name != rests.NAME]

    def _in_rests(self, keys: set[str], cause: Cause) -> Sequence[Unreachable]:
        """Return the dependents in rests; the sentinel is one of them if the nodes have to be read."""
        large = {key: cause.may_run_again for key in keys if rests.is_large(key)}
        self._store.end_bodies(large)  # they are not read: their steps may be of many megabytes each
        texts = [body.body for body in self._failed_rows(keys - large.keys(), cause) if body.body]
        try:
            found = [each for text in texts for each in dependents({"chain": loads(text)})]
        except Exception:
            log_lines.rest_unreadable(min(keys))
            return [LOOK_UP_IN_ROWS]
        all_read = len(texts) == len(keys) - len(large)
        return found if all_read and not any(map(rests.is_unnamed, keys)) else [*found, LOOK_UP_IN_ROWS]

    def _failed_rows(self, keys: set[str], cause: Cause) -> Sequence[Body]:
        """Return the texts of rests and parts whose tasks fail; clear those that no retry needs.

        A retry needs the rests. Parts are copies: a retry finds their tasks in the kept message.
        """
        kept = [key for key in keys if cause.may_run_again and not is_part(key)]
        others = [key for key in keys if key not in kept]
        found = [*self._store.take_bodies(others)] if others else []
        return [*found, *self._store.failed_bodies(kept)] if kept else found
