"""What a worker of Celery 5.7 replies to its own programs, and what they print of its events: types stand for values.

Captured from workers over Redis, with the pool ``prefork``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import NoneType
from typing import Any


@dataclass(frozen=True, slots=True)
class Each:
    """A mapping by names of any kind, whose values have this shape."""

    value: Any


@dataclass(frozen=True, slots=True)
class AtLeast:
    """An object that has these fields, and may have more."""

    fields: dict[str, Any]


_TEXT, _NUMBER = (str, NoneType), (int, NoneType)
TASK = {
    "id": str,
    "name": str,
    "args": list,
    "kwargs": dict,
    "type": str,
    "hostname": str,
    "time_start": (float, NoneType),
    "acknowledged": bool,
    "delivery_info": {"exchange": str, "routing_key": str, "priority": int, "redelivered": bool},
    "worker_pid": _NUMBER,
}
_POOL = {
    "implementation": str,
    "max-concurrency": int,
    "processes": [int],
    "max-tasks-per-child": (int, str),
    "put-guarded-by-semaphore": bool,
    "timeouts": [(int, float)],
    "writes": {
        "total": int,
        "avg": str,
        "all": str,
        "raw": str,
        "strategy": str,
        "inqueues": {"total": int, "active": int},
    },
}
_BROKER = {
    "hostname": _TEXT,
    "userid": _TEXT,
    "virtual_host": str,
    "port": _NUMBER,
    "insist": bool,
    "ssl": bool,
    "transport": str,
    "connect_timeout": (int, float),
    "transport_options": dict,
    "login_method": _TEXT,
    "uri_prefix": _TEXT,
    "heartbeat": (int, float),
    "failover_strategy": str,
    "alternates": list,
    "credential_provider": _TEXT,
}
_RUSAGE = {
    "utime": float,
    "stime": float,
    **dict.fromkeys(("maxrss", "ixrss", "idrss", "isrss", "minflt", "majflt", "nswap"), int),
    **dict.fromkeys(("inblock", "oublock", "msgsnd", "msgrcv", "nsignals", "nvcsw", "nivcsw"), int),
}
_QUEUE = {
    "name": str,
    "exchange": {
        "name": str,
        "type": str,
        "arguments": (dict, NoneType),
        "durable": bool,
        "passive": bool,
        "auto_delete": bool,
        "delivery_mode": _NUMBER,
        "no_declare": bool,
    },
    "routing_key": str,
    **dict.fromkeys(("queue_arguments", "binding_arguments", "consumer_arguments"), (dict, NoneType)),
    **dict.fromkeys(("durable", "exclusive", "auto_delete", "no_ack"), bool),
    "bindings": list,
    "alias": _TEXT,
    "no_declare": (bool, NoneType),
    **dict.fromkeys(("expires", "message_ttl"), (int, float, NoneType)),
    **dict.fromkeys(("max_length", "max_length_bytes", "max_priority"), _NUMBER),
}
#: The replies of one worker to ``celery inspect``.
INSPECT: dict[str, Any] = {
    "ping": {"ok": str},
    "active": [TASK],
    "reserved": [TASK],
    "scheduled": [{"eta": str, "priority": int, "request": TASK}],
    "revoked": [str],
    "registered": [str],
    "stats": AtLeast(
        {
            "total": Each(int),
            "pid": int,
            "clock": str,
            "uptime": int,
            "pool": AtLeast(_POOL),
            "broker": _BROKER,
            "prefetch_count": int,
            "rusage": _RUSAGE,
        }
    ),
    "active_queues": [_QUEUE],
    "query_task": Each([(str, dict)]),
    "conf": Each((str, int, float, bool, list, dict, NoneType)),
    "report": {"ok": str},
    "clock": {"clock": int},
    "memsample": str,
}


def differences(found: Any, shape: Any, where: str = "reply") -> Iterator[str]:
    """Yield how what was found differs from a shape."""
    if isinstance(shape, dict | AtLeast):
        fields = shape if isinstance(shape, dict) else shape.fields
        if not isinstance(found, dict):
            yield f"{where} is {found!r}"
            return
        if missing := fields.keys() - found.keys():
            yield f"{where} lacks {sorted(missing)}"
        if isinstance(shape, dict) and (more := found.keys() - fields.keys()):
            yield f"{where} has {sorted(more)} besides"
        for name in fields.keys() & found.keys():
            yield from differences(found[name], fields[name], f"{where}.{name}")
    elif isinstance(shape, list | Each):
        inner = shape[0] if isinstance(shape, list) else shape.value
        if not isinstance(found, list if isinstance(shape, list) else dict):
            yield f"{where} is {found!r}"
            return
        for name, value in enumerate(found) if isinstance(found, list) else found.items():
            yield from differences(value, inner, f"{where}[{name!r}]")
    else:
        kinds = shape if isinstance(shape, tuple) else (shape,)
        # To Python a bool is an int, to JSON it is not.
        if type(found) not in kinds and not (type(found) is int and float in kinds):
            yield f"{where} is {found!r}"


#: The fields that ``celery events --dump`` prints of each kind of event behind the task, in their order.
_WORKER = "active clock freq loadavg local_received pid processed sw_ident sw_sys sw_ver utcoffset"
_ERROR = "clock exception local_received pid traceback utcoffset"
EVENTS = {
    "started": _WORKER,
    "heartbeat": _WORKER,
    "shutdown": _WORKER,
    "task received": "clock eta expires local_received parent_id pid retries root_id utcoffset",
    "task started": "clock local_received pid utcoffset",
    "task succeeded": "clock local_received pid result runtime utcoffset",
    "task failed": _ERROR,
    "task retried": _ERROR,
    "task revoked": "clock expired local_received pid signum terminated utcoffset",
}


def dumped(kind: str, node: str, task: str = "") -> str:
    """Return the regular expression of what is printed of an event; ``task`` is that of the task."""
    # Only a traceback has signs of equality, as they stand between fields.
    values = dict.fromkeys(EVENTS[kind].split(), "[^=]*?") | {"traceback": "[^\0]*?"}
    fields = ", ".join(f"{name}=(?P<{name}>{values[name]})" for name in EVENTS[kind].split())
    time = r"\[\d{4}-\d\d-\d\d [^]]*\]"
    return rf"^{re.escape(node)} {time} {kind}: {task and task + ' '}{fields}$"
