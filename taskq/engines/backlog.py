"""The backlog: names of queues with waiting messages, and how many wait, and for how long. One statement for each.

The cost does not grow with the number of messages. ``store.backlog`` calls it, for the admin, metrics and commands.
"""

from __future__ import annotations

from collections.abc import Sequence

from .base import Engine
from .look_ups import fetch

#: The priorities whose oldest messages are read. Other programs may write other priorities, which are left out.
_PRIORITIES = range(10)
#: The index of claims, and the order within a priority that it has: see ``storage``.
_BY_INDEX = {
    "postgresql": ("", "id + 0"),
    "sqlite": (" INDEXED BY taskq_message_to_claim", "id"),
    "mysql": (" FORCE INDEX (taskq_message_to_claim)", "id"),
}


def names(engine: Engine, most: int, ranges: Sequence[tuple[str, str | None]]) -> list[str]:
    """Return the names of queues in which messages wait, at most ``most`` from each range of names, in their order.

    A range has the names after its first element and before its second one, or without an end. Each queue costs one
    look into the index.
    """
    index, _ = _BY_INDEX[engine.connection.vendor]
    tables: list[str] = []
    given: list[str | int] = []
    for number, (after, before) in enumerate(ranges):
        until = "" if before is None else " AND queue < %s"
        waiting = f"SELECT queue FROM taskq_message{index} WHERE token = ''"
        next_name = f"{waiting} AND queue > {{}}{until} ORDER BY queue LIMIT 1"
        found = f"found{number}"
        tables.append(
            f"{found}(name, place) AS (SELECT ({next_name.format('%s')}), 1 UNION ALL "
            f"SELECT ({next_name.format(f'{found}.name')}), place + 1 FROM {found} "
            f"WHERE {found}.name IS NOT NULL AND place < %s)"
        )
        bound = () if before is None else (before,)
        given.extend([after, *bound, *bound, most])
    parts = [f"SELECT name FROM found{number} WHERE name IS NOT NULL" for number in range(len(ranges))]
    return [row[0] for row in fetch(engine, f"WITH RECURSIVE {', '.join(tables)} {' UNION ALL '.join(parts)}", given)]


def loads(engine: Engine, queues: Sequence[str], cap: int) -> dict[str, tuple[int, float | None]]:
    """Return how many messages wait in each queue, counted up to ``cap``, and for how many seconds the oldest.

    Within a priority the first message is the oldest.
    """
    if not queues:
        return {}
    vendor = engine.connection.vendor
    now = f"'{engine.now()!r}'" if vendor == "sqlite" else engine.unix_time.format(engine.now_sql)
    index, order = _BY_INDEX[vendor]
    waiting = f"FROM taskq_message{index} WHERE token = '' AND queue = %s"
    heads = ", ".join(
        f"(SELECT {engine.unix_time.format('created_at')} {waiting} AND priority = {priority} ORDER BY {order} LIMIT 1)"
        for priority in _PRIORITIES
    )
    one = f"SELECT %s, (SELECT COUNT(*) FROM (SELECT 1 {waiting} LIMIT {int(cap)}) counted), {now}, {heads}"
    given = [name for name in queues for _ in range(2 + len(_PRIORITIES))]
    rows = fetch(engine, " UNION ALL ".join([one] * len(queues)), given)
    oldest = {row[0]: min((float(head) for head in row[3:] if head is not None), default=None) for row in rows}
    # A clock may have been set back.
    return {
        name: (count, None if (since := oldest[name]) is None else max(0.0, float(at) - since))
        for name, count, at, *_ in rows
    }
