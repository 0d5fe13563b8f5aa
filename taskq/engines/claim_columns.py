"""The columns that a claim reads. It leaves the texts of large messages in their rows: many would fill the memory."""

from __future__ import annotations

#: The most bytes of a body, and of headers or properties, that a claim reads. Of a larger message it reads no body:
#: ``store.large`` does, if there is room for it.
CLAIMED_BODY_SIZE, CLAIMED_HEADERS_SIZE = 16_384, 8_192
#: The most bytes of a message as a claim reads it.
CLAIMED_SIZE = CLAIMED_BODY_SIZE + 2 * CLAIMED_HEADERS_SIZE


def fits(octets: str = "octet_length({})") -> str:
    """Return the condition that a claim reads the whole message; ``octets`` is the size of a text in SQL."""
    sizes = {"headers": CLAIMED_HEADERS_SIZE, "properties": CLAIMED_HEADERS_SIZE, "body": CLAIMED_BODY_SIZE}
    return " AND ".join(f"{octets.format(name)} <= {size}" for name, size in sizes.items())


def claim_columns(octets: str = "octet_length({})", *more: str) -> str:
    """Return the columns that a claim reads, in the order of ``Claimed``. ``octets`` as for ``fits``.

    A body is read only if it meets the conditions ``more`` too. Each engine adds the seconds until the message
    expires, and the Unix time when it was written. ``taskq_revocation`` has the tasks that were revoked before they
    were sent; the first ``EXISTS``, which runs once in a statement, spares the look-ups while the table is empty.
    """
    small = {name: f"{octets.format(name)} <= {CLAIMED_HEADERS_SIZE}" for name in ("headers", "properties")}
    headers, properties = (f"CASE WHEN {condition} THEN {name} ELSE '' END" for name, condition in small.items())
    body = " AND ".join([f"{octets.format('body')} <= {CLAIMED_BODY_SIZE}", *small.values(), *more])
    return (
        f"id, queue, task_id, {headers}, CASE WHEN {body} THEN body ELSE '' END, content_type, content_encoding, "
        f"{properties}, exchange, routing_key, priority, deliveries, redelivered, tracked, "
        "CASE WHEN EXISTS (SELECT 1 FROM taskq_revocation) "
        "AND EXISTS (SELECT 1 FROM taskq_revocation WHERE revoked_id = task_id) THEN 'revoke' ELSE revoked END, "
        "promoted"
    )
