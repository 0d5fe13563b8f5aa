"""Revoking tasks, and what became of each. Called by the pages' actions and by ``manage.py tasks``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from taskq import control, states
from taskq_admin.queries import runs


@dataclass(frozen=True, slots=True)
class Revoked:
    """The ids of tasks that were to be revoked, by what became of them.

    Attributes:
        revoked: they never start.
        asked: a worker holds them, or they have no row: what runs was told to stop, or goes on.
        ended: they had ended, or ended on their own before it reached them.
    """

    revoked: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)

    @property
    def touched(self) -> list[str]:
        """All but those that ended on their own."""
        return [*self.revoked, *self.asked]


def revoke(ids: Sequence[str], **options: Any) -> Revoked:
    """Revoke tasks, with the options of ``control.revoke``; return what became of each."""
    before = runs.states_of(ids)
    control.revoke(list(ids), **options)
    after = runs.states_of(ids)
    found = Revoked()
    for task_id in ids:
        state = after.get(task_id, "")
        if before.get(task_id, "") in states.READY_STATES:
            found.ended.append(task_id)
        elif state == states.REVOKED:
            found.revoked.append(task_id)
        elif state in states.READY_STATES:
            found.ended.append(task_id)
        else:
            found.asked.append(task_id)
    return found
