"""Makes task ids: UUIDs of version 7 (RFC 9562, section 5.7), so rows written together lie together.

A caller's own task id may be any string of up to 255 characters.
"""

from __future__ import annotations

import os
import threading
import time
import uuid

#: Longest id, name and queue in a row, in characters.
MAX_NAME = 255
_lock = threading.Lock()
_last = 0
#: Namespace of ids that are made from other ids (RFC 9562, section 5.5).
_CLOSING = uuid.UUID("0d6f7a3e-5c1b-5f0e-9a34-7c1d2b8e4f60")

os.register_at_fork(after_in_child=_lock._at_fork_reinit)  # type: ignore[attr-defined]


def new_id() -> str:
    """Return a new id; the ids of one process sort by the order of their creation."""
    global _last
    # 48 bits of milliseconds and 12 of the fraction, as one growing number.
    now = time.time_ns() * 4096 // 1_000_000
    with _lock:
        _last = now = now if now > _last else _last + 1
    high = (now >> 12) << 16 | 0x7000 | (now & 0xFFF)
    low = int.from_bytes(os.urandom(8)) & 0x3FFFFFFFFFFFFFFF | 0x8000000000000000
    digits = f"{high:016x}{low:016x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def closing_id(group_id: str) -> str:
    """Return the id of the task that ends a frozen group: always the same id for one group."""
    return str(uuid.uuid5(_CLOSING, group_id))
