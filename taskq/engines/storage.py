"""Storage parameters, indexes and triggers of taskq's tables that models can't declare. Migrations call this.

- Rows of queues are dead within seconds, so autovacuum starts after some thousands of dead rows, however many wait.
- ``fillfactor`` leaves room in pages for changes that touch no index: such a change writes no index entry, and its dead
  row is removed without a vacuum.
- The indexes of claims and of promotion end with ``id + 0``. With the plain ``id``, PostgreSQL might use any index that
  has it, and read it as a whole: when all rows of a queue are dead, all indexes look equally short to the planner.
- The index of ages has ended runs only, where the database has partial indexes: sending writes no entry. The models
  have no condition, because Django warns of one on every MariaDB.
"""

from __future__ import annotations

from typing import Any

from django.db import DatabaseError, transaction

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


#: The columns of large results on PostgreSQL, by table. Its own compression takes long to find that a text can't be
#: compressed, and does so again when the settlement moves it.
COMPRESSED_1 = {"taskq_group": "body", "taskq_taskrun": "result"}

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


#: The columns that may have a stand-in on SQLite, by table, and those that may have one besides since ``TRIGGERS_2``.
_TEXTS = {"taskq_message": "body", "taskq_scheduledmessage": "body", "taskq_taskrun": "arguments"}
_MORE_TEXTS = {"taskq_group": "body", "taskq_taskrun": "result"}


def _text_triggers() -> dict[str, str]:
    """Return SQLite's triggers that delete a ``LargeText`` with the last row that has its key.

    The triggers of deletions run before them, and read the key from the row: ``OLD`` would read a whole large text.
    """
    # Rows with the same key belong to the same task, unless another program has written them.
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


def _more_text_triggers() -> dict[str, str]:
    """Return the triggers of the bodies of groups and of results. A settlement copies such a body into a result.

    The run has the stand-in before the group is deleted. The trigger of results watches ``created_at``, which is
    written when a task is sent again: watching ``result``, it would run for each task that is settled.
    """
    delete = "BEGIN DELETE FROM taskq_largetext WHERE key = CAST({0} AS TEXT){1}; END"
    unless = " AND NOT EXISTS (SELECT 1 FROM {0} WHERE {1} AND typeof({2}) = 'blob' AND substr({2}, 1, 32) = {3})"
    triggers = {}
    for name, own, column, written in (
        ("taskq_group_text", "taskq_group", "body", "body"),
        ("taskq_result_text", "taskq_taskrun", "result", "created_at"),
    ):
        of_row = f"(SELECT {{}} FROM {own} WHERE id = OLD.id)"
        is_apart, key = of_row.format(f"typeof({column})"), of_row.format(f"substr({column}, 1, 32)")
        moved = unless.format("taskq_taskrun", "task_id = OLD.parent_id", "result", key) if column == "body" else ""
        triggers[f"{name}_deleted"] = f"BEFORE DELETE ON {own} WHEN {is_apart} = 'blob' {delete.format(key, moved)}"
        key = f"substr(OLD.{column}, 1, 32)"
        same = unless.format(own, "id = OLD.id", column, key)
        triggers[f"{name}_replaced"] = (
            f"AFTER UPDATE OF {written} ON {own} WHEN typeof(OLD.{column}) = 'blob' {delete.format(key, same)}"
        )
    return triggers


TRIGGERS_2 = _more_text_triggers()


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


def put_texts_back(schema_editor: Any, texts: dict[str, str] = _TEXTS) -> None:
    """Write large texts into their rows again where the database is SQLite; for migrations, without the triggers."""
    if schema_editor.connection.vendor == "sqlite":
        for table, column in texts.items():
            whole = WHOLE.format(f"{table}.{column}")
            schema_editor.execute(f"UPDATE {table} SET {column} = {whole} WHERE typeof({column}) = 'blob'")


def put_more_texts_back(schema_editor: Any) -> None:
    """Write the large texts of ``TRIGGERS_2`` into their rows again, and delete them; for migrations."""
    put_texts_back(schema_editor, _MORE_TEXTS)
    if schema_editor.connection.vendor == "sqlite":
        keys = " UNION ALL ".join(
            f"SELECT CAST(substr({column}, 1, 32) AS TEXT) FROM {table} WHERE typeof({column}) = 'blob'"
            for table, column in _TEXTS.items()
        )
        schema_editor.execute(f"DELETE FROM taskq_largetext WHERE key NOT IN ({keys})")


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


def compress(columns: dict[str, str], method: str, schema_editor: Any) -> None:
    """Set the ``method`` by which PostgreSQL compresses new values of columns, if it has it; for migrations."""
    connection = schema_editor.connection
    if connection.vendor != "postgresql" or connection.pg_version < 14_00_00:
        return
    try:
        with transaction.atomic(using=connection.alias):
            for table, column in columns.items():
                schema_editor.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET COMPRESSION {method}")
    except DatabaseError as error:
        # This server was built without the method.
        if getattr(error.__cause__, "sqlstate", None) != "0A000":
            raise


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
