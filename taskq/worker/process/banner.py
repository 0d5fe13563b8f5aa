"""The banner that a worker prints when it starts: its name, version, broker, pool, queues and tasks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kombu.entity import Queue

import taskq

_ART = (
    " -------------- {node} v{version}",
    "--- ***** -----",
    "-- ******* ---- {system}",
    "- *** --- * ---",
    "- ** ---------- [config]",
    "- ** ---------- .> broker:      {broker}",
    "- ** ---------- .> results:     {results}",
    "- *** --- * --- .> concurrency: {concurrency} ({pool})",
    "-- ******* ---- .> events:      {events}",
    "--- ***** -----",
    " -------------- [queues]",
)


def banner(
    *,
    node: str,
    system: str,
    broker: str,
    results: str,
    concurrency: int,
    pool: str,
    queues: Sequence[Queue],
    tasks: Iterable[str] = (),
) -> str:
    """Return the banner; ``tasks`` are listed if given."""
    lines = [
        line.format(
            node=node,
            version=taskq.__version__,
            system=system,
            broker=broker,
            results=results,
            concurrency=concurrency,
            pool=pool,
            events="OFF",
        )
        for line in _ART
    ]
    lines += [f"                .> {_describe(queue)}" for queue in queues]
    if names := sorted(tasks):
        lines += ["", "[tasks]", *(f"  . {name}" for name in names)]
    return "\n".join(["", *lines, ""])


def _describe(queue: Queue) -> str:
    exchange = queue.exchange
    name, kind = (exchange.name, exchange.type) if exchange is not None else ("", "direct")
    return f"{queue.name:<16} exchange={name or queue.name}({kind}) key={queue.routing_key or queue.name}"
