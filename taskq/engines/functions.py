"""Functions that taskq has in PostgreSQL, by version; migrations install them.

A statement that a function runs is planned once a session, whether the connection may
prepare statements or not (Django's don't by default, and behind a proxy that pools
transactions they can't). A function is never changed: a new one gets a new number.
"""

from __future__ import annotations

from typing import Any

#: Sends one tracked message that is due: its run, the message and the notification.
SEND = "taskq_send_1"

_SEND_1 = """
CREATE OR REPLACE FUNCTION taskq_send_1(
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

_CREATE = {SEND: _SEND_1}


def install(name: str, schema_editor: Any) -> None:
    """Create a function where the database is PostgreSQL; for migrations."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(_CREATE[name])


def remove(name: str, schema_editor: Any) -> None:
    """Drop a function where the database is PostgreSQL; for migrations."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(f"DROP FUNCTION IF EXISTS {name}")
