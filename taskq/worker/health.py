"""Whether workers live, as their rows say: what a container's probe asks through ``manage.py taskhealth``.

One query, and nothing is written. The rows of kombu's consumers are no workers.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from taskq.conf import database_broker_alias, settings
from taskq.models import Worker
from taskq.processes import host_identity, is_gone
from taskq.store.consuming import CONSUMER


@dataclass(frozen=True, slots=True)
class Health:
    """One boot of one worker. ``age`` is the seconds since its last heartbeat, ``lease`` how many it may be."""

    name: str
    pid: int
    state: str
    age: float
    lease: float
    gone: bool

    @property
    def alive(self) -> bool:
        """Whether its heartbeat is within its lease, and its process there as far as can be seen from here."""
        return not self.gone and self.age < self.lease

    def __str__(self) -> str:
        if self.gone:
            return f"{self.name}: process {self.pid} is gone"
        # Clocks of two hosts may differ by a little.
        seen = f"seen {max(self.age, 0.0):.1f} s ago"
        if not self.alive:
            return f"{self.name}: {seen}, its lease is {self.lease:g} s"
        return f"{self.name}: {self.state}, {seen}"


def look(name: str | None = None) -> list[Health]:
    """Return the state of the worker ``name``, or of all, by name.

    Where one name was started several times, the boot that lives counts, or else the
    one that was seen last. Raises what the database raises when it can't be asked.
    """
    rows = Worker.objects.using(database_broker_alias() or settings.DATABASE).exclude(state=CONSUMER)
    if name is not None:
        rows = rows.filter(name=name)
    here, now = host_identity(), datetime.now(UTC)
    found: dict[str, Health] = {}
    for row in rows:
        gone = bool(row.host) and row.host == here and is_gone(row.pid, row.process_started)
        health = Health(row.name, row.pid, row.state, (now - row.seen_at).total_seconds(), row.lease, gone)
        known = found.get(row.name)
        if known is None or (health.alive, -health.age) > (known.alive, -known.age):
            found[row.name] = health
    return [found[each] for each in sorted(found)]
