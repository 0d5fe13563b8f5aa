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

#: How the names of the tasks begin that every worker has.
_BUILT_IN = ("celery.", "taskq.")


def banner(
    *,
    node: str,
    system: str,
    broker: str,
    results: str,
    concurrency: str,
    pool: str,
    events: str,
    queues: Sequence[Queue],
    tasks: Iterable[str] = (),
) -> str:
    """Return the banner; ``tasks`` are listed if given, but for the built-in ones."""
    lines = [
        line.format(
            node=node,
            version=taskq.__version__,
            system=system,
            broker=broker,
            results=results,
            concurrency=concurrency,
            pool=pool,
            events=events,
        )
        for line in _ART
    ]
    lines += [f"                .> {_describe(queue)}" for queue in queues]
    if names := sorted(name for name in tasks if not name.startswith(_BUILT_IN)):
        lines += ["", "[tasks]", *(f"  . {name}" for name in names)]
    return "\n".join(["", *lines, ""])


def _describe(queue: Queue) -> str:
    exchange = queue.exchange
    name, kind = (exchange.name, exchange.type) if exchange is not None else ("", "direct")
    return f"{queue.name:<16} exchange={name or queue.name}({kind}) key={queue.routing_key or queue.name}"
