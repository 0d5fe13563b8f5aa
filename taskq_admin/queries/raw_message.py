"""The message of a task as it waits in the database: headers, properties, and what can be shown of its body.

Only the row of a task has its ``sensitive`` arguments masked, the message has them all. So texts about arguments are
left out of the headers, and the body is shown only if its arguments are those of the row, without its links.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from taskq.models import TaskRun

from . import payloads
from .waiting import Facts

#: Headers that tell of arguments, or hold a seal.
_LEFT_OUT = frozenset({"argsrepr", "kwargsrepr", "taskq_signature"})


@dataclass(frozen=True, slots=True)
class Raw:
    """A message: facts as pairs of a label and a text, and its parts made readable."""

    facts: list[tuple[str, str]]
    headers: payloads.Payload | None
    properties: payloads.Payload | None
    body: payloads.Payload | None


def shown(run: TaskRun, found: Facts, space: payloads.Space) -> Raw | None:
    """Return the message that ``waiting.facts`` has found; ``None`` if there is none."""
    row: Any = found.message or found.scheduled
    if row is None:
        return None
    return Raw(
        facts=_facts(row),
        headers=space.fit(payloads.payload(without_arguments(row.cut_headers))),
        properties=space.fit(payloads.payload(row.cut_properties)),
        body=space.fit(body(row.cut_body, getattr(run, "cut_arguments", None))),
    )


def _facts(row: Any) -> list[tuple[str, str]]:
    return [
        (_("Exchange"), row.exchange or "-"),
        (_("Routing key"), row.routing_key or "-"),
        (_("Content"), f"{row.content_type}, {row.content_encoding}"),
        (_("Started before"), str(row.deliveries)),
    ]


def without_arguments(text: str) -> str:
    """Return headers without the texts about arguments; those that can't be read become none."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(said, dict):
        return ""
    return json.dumps({key: value for key, value in said.items() if key not in _LEFT_OUT})


def body(text: str, arguments: str | None) -> payloads.Payload:
    """Return the body if it shows no more than ``arguments``, those of the row, do; else how long it is."""
    try:
        args, kwargs, embedded = json.loads(text)
        if [args, kwargs] == json.loads(arguments or "[]")[:2]:
            links = {key: "…" if value else None for key, value in dict(embedded).items()}
            return payloads.payload(json.dumps([args, kwargs, links])) or _hidden(text)
    except (ValueError, TypeError, RecursionError):
        pass
    return _hidden(text)


def _hidden(text: str) -> payloads.Payload:
    size = f"{payloads.LIMIT:,}+" if len(text) > payloads.LIMIT else f"{len(text):,}"
    note = _("%(count)s characters, which are not shown: they are encoded, or more than the row of the task has.")
    return payloads.Payload("", note % {"count": size})
