"""What waits in the queues: names, numbers and ages, in two statements however many messages and queues there are."""

from __future__ import annotations

from collections.abc import Sequence

from .base import Engine

#: Priorities whose oldest message is looked for. Other programs may write other ones; they have no age.
_PRIORITIES = range(10)
#: The index of claims, and the order within a priority that it has: see ``storage``.
_BY_INDEX = {
    "postgresql": ("", "id + 0"),
    "sqlite": (" INDEXED BY taskq_message_to_claim", "id"),
    "mysql": (" FORCE INDEX (taskq_message_to_claim)", "id"),
}


def names(engine: Engine, most: int, after: str, before: str | None = None) -> list[str]:
    """Return the first ``most`` queues in which messages wait and whose names are between the two, by name.

    Each costs one look into the index.
    """
    index, _ = _BY_INDEX[engine.connection.vendor]
    until = "" if before is None else " AND queue < %s"
    next_name = (
        f"SELECT queue FROM taskq_message{index} WHERE token = '' AND queue > {{}}{until} ORDER BY queue LIMIT 1"
    )
    given = [] if before is None else [before]
    with engine.cursor() as cursor:
        cursor.execute(
            f"WITH RECURSIVE found(name) AS (SELECT ({next_name.format('%s')}) UNION ALL "
            f"SELECT ({next_name.format('found.name')}) FROM found WHERE found.name IS NOT NULL) "
            "SELECT name FROM found WHERE name IS NOT NULL LIMIT %s",
            [after, *given, *given, most],
        )
        return [row[0] for row in cursor.fetchall()]


def loads(engine: Engine, queues: Sequence[str], cap: int) -> dict[str, tuple[int, float | None]]:
    """Return how many messages wait in each queue, counted up to ``cap``, and the Unix time of the oldest.

    Within a priority the first message is the oldest.
    """
    if not queues:
        return {}
    index, order = _BY_INDEX[engine.connection.vendor]
    waiting = f"FROM taskq_message{index} WHERE token = '' AND queue = %s"
    heads = ", ".join(
        f"(SELECT {engine.unix_time.format('created_at')} {waiting} AND priority = {priority} ORDER BY {order} LIMIT 1)"
        for priority in _PRIORITIES
    )
    one = f"SELECT %s, (SELECT COUNT(*) FROM (SELECT 1 {waiting} LIMIT {int(cap)}) counted), {heads}"
    with engine.cursor() as cursor:
        cursor.execute(
            " UNION ALL ".join([one] * len(queues)), [name for name in queues for _ in range(2 + len(_PRIORITIES))]
        )
        rows = cursor.fetchall()
    return {
        name: (count, min((float(head) for head in heads if head is not None), default=None))
        for name, count, *heads in rows
    }
