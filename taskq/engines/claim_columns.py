"""The columns that a claim reads. Texts of large messages stay in their rows: a claim of many could fill the memory."""

from __future__ import annotations

#: The most bytes that a claim brings along of a body, and of headers or properties. Of a larger message it brings no
#: body: ``store.large`` reads that, if there is room for it.
BODY, HEADERS = 16_384, 8_192
#: The most bytes of one message of a claim.
MOST = BODY + 2 * HEADERS


def fits(octets: str = "octet_length({})") -> str:
    """Return the condition that a claim brings along the whole message."""
    most = {"headers": HEADERS, "properties": HEADERS, "body": BODY}
    return " AND ".join(f"{octets.format(name)} <= {size}" for name, size in most.items())


def claim_columns(octets: str = "octet_length({})", *more: str) -> str:
    """Return the columns that a claim reads, in the order of ``Claimed``; ``octets`` is the size of a text in SQL.

    A body comes along only if it meets the conditions ``more`` too. Each engine adds the seconds until the message
    expires, and the Unix time when it was written. A task may have been revoked before it was sent: each message is
    looked for only if there is such a task at all, which is asked once in a statement.
    """
    fits = {name: f"{octets.format(name)} <= {HEADERS}" for name in ("headers", "properties")}
    headers, properties = (f"CASE WHEN {condition} THEN {name} ELSE '' END" for name, condition in fits.items())
    body = " AND ".join([f"{octets.format('body')} <= {BODY}", *fits.values(), *more])
    return (
        f"id, queue, task_id, {headers}, CASE WHEN {body} THEN body ELSE '' END, content_type, content_encoding, "
        f"{properties}, exchange, routing_key, priority, deliveries, redelivered, tracked, "
        "CASE WHEN EXISTS (SELECT 1 FROM taskq_revocation) "
        "AND EXISTS (SELECT 1 FROM taskq_revocation WHERE revoked_id = task_id) THEN 'revoke' ELSE revoked END, "
        "promoted"
    )
