"""taskq's functions in PostgreSQL, by version; migrations install them.

PostgreSQL plans a statement within a function once a session. Other statements it plans each time: Django's connections
do not prepare statements by default, and behind a proxy that pools transactions they can't. A function is never
changed: a new version gets a new number.

taskq works without the functions: if a role must not create them, the migration goes on without them, and if a role
must not execute them, it sends by other statements. Another role that may create functions in the schema could use the
same name. So a function is called with its schema and the types of its arguments, and only if the owner of the tables
owns it.
"""

from __future__ import annotations

from typing import Any

from django.db import ProgrammingError, transaction

#: Sends one tracked message of the usual kind: its run, the message and the notification.
SEND = "taskq_send_2"

_SEND_1 = """
CREATE OR REPLACE FUNCTION {schema}.taskq_send_1(
    p_task_id text, p_name text, p_queue text, p_priority int, p_expires float8, p_headers text, p_body text,
    p_content_type text, p_content_encoding text, p_properties text, p_exchange text, p_routing_key text,
    p_arguments text, p_root_id text, p_parent_id text, p_group_id text, p_retries int, p_wake bool
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_expires timestamptz := to_timestamp(p_expires);
BEGIN
    INSERT INTO taskq_taskrun (
        task_id, name, queue, priority, arguments, root_id, parent_id, group_id, retries, expires_at, state,
        content_type, worker, created_at
    ) VALUES (
        p_task_id, p_name, p_queue, p_priority, p_arguments, p_root_id, p_parent_id, p_group_id, p_retries, v_expires,
        'PENDING', 'application/json', '', v_now
    ) ON CONFLICT (task_id) DO NOTHING;
    INSERT INTO taskq_message (
        queue, task_id, name, priority, headers, body, content_type, content_encoding, properties, exchange,
        routing_key, tracked, expires_at, deliveries, redelivered, created_at, token, acked, revoked
    ) VALUES (
        p_queue, p_task_id, p_name, p_priority, p_headers, p_body, p_content_type, p_content_encoding, p_properties,
        p_exchange, p_routing_key, true, v_expires, 0, false, v_now, '', false, ''
    );
    IF p_wake THEN
        PERFORM pg_notify('taskq_message', p_queue);
    END IF;
END $$
"""

# Each name but that of the table has its schema, also types and operators: other roles may have put theirs into the
# search path. To set the path in the function would cost up to an eighth of its time.
# Columns that have the same value in most messages are no arguments: each argument costs the sender and the server.
_SEND_2 = """
CREATE OR REPLACE FUNCTION {schema}.taskq_send_2(
    p_task_id text, p_name text, p_queue text, p_priority int, p_headers text, p_body text, p_properties text,
    p_arguments text, p_root_id text, p_parent_id text, p_wake text
) RETURNS bool LANGUAGE plpgsql AS $$
DECLARE
    v_now pg_catalog.timestamptz := pg_catalog.clock_timestamp();
BEGIN
    IF NOT coalesce(pg_catalog.to_regclass('taskq_message') OPERATOR(pg_catalog.=) {table}::pg_catalog.regclass, false)
    THEN
        RETURN false;
    END IF;
    INSERT INTO {schema}.taskq_taskrun (
        task_id, name, queue, priority, arguments, root_id, parent_id, group_id, retries, state, content_type, worker,
        created_at
    ) VALUES (
        p_task_id, p_name, p_queue, p_priority, p_arguments, p_root_id, p_parent_id, '', 0, 'PENDING',
        'application/json', '', v_now
    ) ON CONFLICT (task_id) DO NOTHING;
    INSERT INTO {schema}.taskq_message (
        queue, task_id, name, priority, headers, body, content_type, content_encoding, properties, exchange,
        routing_key, tracked, deliveries, redelivered, created_at, token, acked, revoked
    ) VALUES (
        p_queue, p_task_id, p_name, p_priority, p_headers, p_body, 'application/json', 'utf-8', p_properties, '',
        p_queue, true, 0, false, v_now, '', false, ''
    );
    IF p_wake IS NOT NULL THEN
        PERFORM pg_catalog.pg_notify('taskq_message', p_wake);
    END IF;
    RETURN true;
END $$
"""

_CREATE = {"taskq_send_1": _SEND_1, SEND: _SEND_2}
_ARGUMENTS = [*["text"] * 3, "int4", *["text"] * 7]
_SCHEMA = (
    "SELECT pg_catalog.quote_ident(n.nspname::text) FROM pg_catalog.pg_class c "
    "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
)
_IS_TABLE = "WHERE c.oid = pg_catalog.to_regclass('taskq_message'::text)::oid"
#: Returns the schema of the function ``SEND``, if this role may call it.
FIND_SEND = (
    f"{_SCHEMA} JOIN pg_catalog.pg_proc p ON p.proowner = c.relowner AND p.oid = pg_catalog.to_regprocedure("
    f"pg_catalog.quote_ident(n.nspname::text) || '.{SEND}({', '.join(_ARGUMENTS)})'::text)::oid "
    f"{_IS_TABLE} AND pg_catalog.has_function_privilege(p.oid, 'EXECUTE'::text)"
)
#: SQLSTATE of "insufficient privilege", and of a language that the database does not have.
_NOT_ALLOWED = {"42501", "42704"}


def call_send(schema: str) -> str:
    """Return the statement that calls ``SEND``. It gives no row if ``taskq_message`` means another table by now."""
    return f"SELECT 1 WHERE {schema}.{SEND}({', '.join(f'%s::{kind}' for kind in _ARGUMENTS)})"


def install(name: str, schema_editor: Any) -> None:
    """Create a function where the database is PostgreSQL and the role may do that; for migrations."""
    if schema_editor.connection.vendor != "postgresql":
        return
    try:
        with transaction.atomic(using=schema_editor.connection.alias):
            schema = _schema(schema_editor)
            table = "'" + schema.replace("'", "''") + ".taskq_message'"
            schema_editor.execute(_CREATE[name].format(schema=schema, table=table))
    except ProgrammingError as error:
        if getattr(error.__cause__, "sqlstate", None) not in _NOT_ALLOWED:
            raise


def remove(name: str, schema_editor: Any) -> None:
    """Drop a function where the database is PostgreSQL; for migrations."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(f"DROP FUNCTION IF EXISTS {_schema(schema_editor)}.{name}")


def _schema(schema_editor: Any) -> str:
    """Return the schema of taskq's tables, quoted."""
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(_SCHEMA + _IS_TABLE)
        return str(cursor.fetchone()[0])
