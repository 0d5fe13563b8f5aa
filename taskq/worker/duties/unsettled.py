"""Tells why a task's end was not settled: its message was not held under the token of its claim."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from taskq.records import Settlement
from taskq.store import claim
from taskq.worker import log_lines


def tell_why(unsettled: Sequence[Settlement], alias: str, *, lease_lost: bool, in_doubt: Collection[int]) -> None:
    """Log the reason for each of ``unsettled``.

    ``lease_lost``: the worker has lost the lease of these messages. ``in_doubt`` are messages of which an earlier
    try ended with an error: the database may have committed it all the same.
    """
    holders = claim.holders([s.message_id for s in unsettled], alias)
    for settlement in unsettled:
        holder = holders.get(settlement.message_id)
        if lease_lost:
            log_lines.settlement_dropped(settlement, "this worker was taken for dead while it ran")
        elif holder:
            log_lines.settlement_dropped(settlement, "its message was taken over by another worker")
        elif holder is not None:
            log_lines.settlement_dropped(settlement, "its message is back in its queue")
        elif settlement.message_id in in_doubt:
            log_lines.settlement_found(settlement)
        else:
            log_lines.settlement_dropped(settlement, "its message was deleted")
