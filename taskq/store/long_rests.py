"""Long rests: the process of a task writes large rows of its follow-ups before the task is settled.

Another program may send a long chain whole. The process that runs its first step cuts the chain (``workflows.rests``),
and writes the rests. If the worker's main process did that, it would have to hold them all, and no other task would be
settled or claimed meanwhile. The same holds for the row of a group whose body is large: nobody counts in it before the
members are sent. Called by ``execution.parts``.

The keys follow from the chain. So a second delivery of the step writes the same rows. If the step is never settled,
nothing refers to the rows, and retention deletes them by their age.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from taskq.conf import settings
from taskq.engines import Engine, for_alias
from taskq.messages.protocol import MOST_IN_MAIN
from taskq.records import NewGroup
from taskq.workflows.parts import AT_ONCE

from .transactions import has_begun, repeated
from .workflow_rows import insert

#: Seconds of a pause between two transactions, at most.
_LONGEST_PAUSE = 0.1


def write_ahead(groups: Sequence[NewGroup], alias: str | None = None) -> list[NewGroup]:
    """Write rests and large bodies among new groups; return the groups that are still to be written, without these.

    Inside a transaction nothing is written.
    """
    rests = [group for group in groups if _is_ahead(group)]
    if sum(len(group.body or "") for group in rests) <= MOST_IN_MAIN:
        return list(groups)
    engine = for_alias(alias or settings.DATABASE)
    if has_begun(engine):
        return list(groups)
    for part in _parts(rests):
        began = time.monotonic()
        repeated(engine, partial(_insert, engine, part))
        if not engine.skip_locked:
            # On SQLite others wait with pauses: without this one they would come last.
            time.sleep(min(_LONGEST_PAUSE, time.monotonic() - began))
    # Rests are left out. The settlement still has groups that count members, without their bodies: it finds the rows.
    return [
        replace(group, body=None) if _is_ahead(group) else group for group in groups if group.size or not group.body
    ]


def _is_ahead(group: NewGroup) -> bool:
    return bool(group.body) and (not group.size or len(group.body or "") > MOST_IN_MAIN)


def _insert(engine: Engine, groups: Sequence[NewGroup]) -> None:
    with engine.atomic():
        insert(engine, groups, ())


def _parts(groups: Sequence[NewGroup]) -> Iterator[list[NewGroup]]:
    part: list[NewGroup] = []
    size = 0
    for group in groups:
        part.append(group)
        size += len(group.body or "")
        if size >= AT_ONCE:
            yield part
            part, size = [], 0
    if part:
        yield part
