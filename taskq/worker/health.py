"""Health: whether workers live, by their rows; for a container's probe through ``manage.py taskhealth``.

By the database's clock. Nothing is written. Rows of kombu connections are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

from taskq.conf import database_broker_alias, settings
from taskq.engines import for_alias
from taskq.models import Worker
from taskq.store.consuming import CONSUMER
from taskq.store.peers import process_exited


@dataclass(frozen=True, slots=True)
class Health:
    """One start of one worker. ``age`` is the seconds since its last heartbeat, ``lease`` the most that it may be."""

    name: str
    pid: int
    state: str
    age: float
    lease: float
    gone: bool

    @property
    def alive(self) -> bool:
        """Whether its last heartbeat is within its lease, and its process has not exited as far as can be seen.

        A worker whose messages a peer has taken over is not alive, whatever its last heartbeat was.
        """
        return self.state != Worker.LOST and not self.gone and self.age < self.lease

    def __str__(self) -> str:
        # The clock of a database may be set back.
        seen = f"seen {max(self.age, 0.0):.1f} s ago"
        if self.state == Worker.LOST:
            return f"{self.name}: lost, {seen}"
        if self.gone:
            return f"{self.name}: process {self.pid} is gone"
        if not self.alive:
            return f"{self.name}: {seen}, its lease is {self.lease:g} s"
        return f"{self.name}: {self.state}, {seen}"


def look(name: str | None = None) -> list[Health]:
    """Return the health of the worker ``name``, or of all workers, sorted by name.

    If a name was started several times, the start that is alive counts, or else the start with
    the latest heartbeat. Raises the database's errors.
    """
    rows = Worker.objects.using(database_broker_alias() or settings.DATABASE).exclude(state=CONSUMER)
    if name is not None:
        rows = rows.filter(name=name)
    # The rows first: no heartbeat of theirs is later than this.
    present = list(rows)
    now = for_alias(rows.db).now() if present else 0.0
    found: dict[str, Health] = {}
    for row in present:
        age = now - row.seen_at.timestamp()
        health = Health(row.name, row.pid, row.state, age, row.lease, process_exited(row))
        known = found.get(row.name)
        if known is None or (health.alive, -health.age) > (known.alive, -known.age):
            found[row.name] = health
    return [found[each] for each in sorted(found)]
