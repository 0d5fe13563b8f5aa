"""How PostgreSQL keeps the tables of taskq: storage parameters, which migrations set.

Rows of queues are dead within seconds, so autovacuum comes after some thousands of dead rows, however many wait. Rows
whose changes touch no index leave room in their pages: a change then writes no index entry, and its dead row goes
without a vacuum.
"""

from __future__ import annotations

from typing import Any

_QUEUE = "autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000"
_HISTORY = "autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000"
#: By table; a set is never changed, a new one gets a new name.
STORAGE_1 = {
    "taskq_message": _QUEUE,
    "taskq_scheduledmessage": _QUEUE,
    "taskq_taskrun": _HISTORY,
    "taskq_node": f"{_HISTORY}, fillfactor = 85",
    "taskq_group": f"{_HISTORY}, fillfactor = 60",
    "taskq_worker": "fillfactor = 50",
}


def apply(parameters: dict[str, str], schema_editor: Any) -> None:
    """Set the parameters where the database is PostgreSQL; for migrations."""
    if schema_editor.connection.vendor == "postgresql":
        for table, values in parameters.items():
            schema_editor.execute(f"ALTER TABLE {table} SET ({values})")


def reset(parameters: dict[str, str], schema_editor: Any) -> None:
    """Take the parameters back where the database is PostgreSQL; for migrations."""
    if schema_editor.connection.vendor == "postgresql":
        for table, values in parameters.items():
            names = ", ".join(value.split(" = ")[0] for value in values.split(", "))
            schema_editor.execute(f"ALTER TABLE {table} RESET ({names})")
