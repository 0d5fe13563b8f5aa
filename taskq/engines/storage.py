"""How databases keep the tables of taskq, where models can't say it: storage parameters and indexes.

Migrations set them.

Rows of queues are dead within seconds, so autovacuum comes after some thousands of dead rows, however many wait. Rows
whose changes touch no index leave room in their pages: a change then writes no index entry, and its dead row goes
without a vacuum.

The indexes that give the order of claims and of promotion end with ``id + 0``. When all rows of a queue are dead, its
indexes seem to be as short as each other. Under its plain name the id would be looked for in any of them, as a whole.

The index of ages has ended runs only, where the database can: sending writes no entry. The models don't say so because
Django warns of a condition on every MariaDB, which has none.
"""

from __future__ import annotations

from typing import Any

from taskq.models.fields import WHOLE

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


#: By vendor and index. The models have these indexes whole, with the plain id, as other databases do.
_PARTIAL = {"taskq_run_by_age": "taskq_taskrun (state, finished_at) WHERE finished_at IS NOT NULL"}
INDEXES_1 = {
    "postgresql": {
        "taskq_message_to_claim": "taskq_message (token, queue, priority DESC, (id + 0))",
        "taskq_scheduled_due": "taskq_scheduledmessage (due_at, (id + 0))",
        **_PARTIAL,
    },
    "sqlite": _PARTIAL,
}


#: The columns that may have a stand-in on SQLite, by table.
_TEXTS = {"taskq_message": "body", "taskq_scheduledmessage": "body", "taskq_taskrun": "arguments"}


def _text_triggers() -> dict[str, str]:
    """Return the triggers by which a ``LargeText`` is deleted on SQLite with the last row that has its key.

    Those of a deletion come before it, and look into the row: ``OLD`` would read a large text that is in the row.
    """
    # Only the rows of one task have one key, but for what a program has written past taskq.
    same = "task_id = OLD.task_id AND typeof({0}) = 'blob' AND substr({0}, 1, 32) = {1}"
    # Foreign messages have the id '', and there may be thousands of them: each was inserted with a key of its own.
    other = " AND id <> OLD.id AND OLD.task_id <> ''"
    triggers = {}
    for own, column in _TEXTS.items():
        in_row = f"(SELECT substr({column}, 1, 32) FROM {own} WHERE id = OLD.id)"
        for verb, event, is_apart, key in (
            ("deleted", "BEFORE DELETE", f"(SELECT typeof({column}) FROM {own} WHERE id = OLD.id) = 'blob'", in_row),
            ("replaced", f"AFTER UPDATE OF {column}", f"typeof(OLD.{column}) = 'blob'", f"substr(OLD.{column}, 1, 32)"),
        ):
            others = "".join(
                f" AND NOT EXISTS (SELECT 1 FROM {table} WHERE {same.format(name, key)}"
                f"{other if verb == 'deleted' and table == own else ''})"
                for table, name in _TEXTS.items()
            )
            triggers[f"{own}_text_{verb}"] = (
                f"{event} ON {own} WHEN {is_apart} "
                f"BEGIN DELETE FROM taskq_largetext WHERE key = CAST({key} AS TEXT){others}; END"
            )
    return triggers


#: SQLite's triggers by name. A migration that has Django make one of the tables anew drops them: it has to end with
#: ``create_triggers``, which a test asks for.
TRIGGERS_1 = _text_triggers()


def create_triggers(triggers: dict[str, str], schema_editor: Any) -> None:
    """Make the triggers where the database is SQLite; for migrations."""
    if schema_editor.connection.vendor == "sqlite":
        for name, definition in triggers.items():
            schema_editor.execute(f"CREATE TRIGGER {name} {definition}")


def drop_triggers(triggers: dict[str, str], schema_editor: Any) -> None:
    """Drop the triggers where the database is SQLite; for migrations."""
    if schema_editor.connection.vendor == "sqlite":
        for name in triggers:
            schema_editor.execute(f"DROP TRIGGER {name}")


def put_texts_back(schema_editor: Any) -> None:
    """Write large texts into their rows again where the database is SQLite; for migrations, without the triggers."""
    if schema_editor.connection.vendor == "sqlite":
        for table, column in _TEXTS.items():
            whole = WHOLE.format(f"{table}.{column}")
            schema_editor.execute(f"UPDATE {table} SET {column} = {whole} WHERE typeof({column}) = 'blob'")


def rebuild(indexes: dict[str, dict[str, str]], schema_editor: Any) -> None:
    """Make the indexes of the database anew; for migrations."""
    for name, definition in indexes.get(schema_editor.connection.vendor, {}).items():
        schema_editor.execute(f"DROP INDEX {name}")
        schema_editor.execute(f"CREATE INDEX {name} ON {definition}")


def rebuild_plain(indexes: dict[str, dict[str, str]], schema_editor: Any) -> None:
    """Make the indexes of the database as the models have them; for migrations."""
    whole = {
        vendor: {name: definition.partition(" WHERE ")[0].replace("(id + 0)", "id") for name, definition in own.items()}
        for vendor, own in indexes.items()
    }
    rebuild(whole, schema_editor)


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
