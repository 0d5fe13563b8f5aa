"""What a list of tasks is asked for: the parameters of its address, read into one plain object.

Unreadable parameters limit nothing, so that an old or a mistyped address still shows a list; ``problems`` says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any

from django.http import QueryDict
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime
from django.utils.translation import gettext as _

from taskq import timezones

#: Parameters of an address, in the order in which a list shows them.
TEXTS = ("name", "queue", "worker", "exception", "error", "group", "root", "stamp")
TIMES = ("since", "until")
#: Those, and the words of a search, that look into payloads.
_PAYLOADS = frozenset({"exception", "error", "stamp"})
PARAMETERS = ("tab", "q", *TEXTS, *TIMES, "before")
_LONGEST = 500
_LONGEST_AGE = 50 * 365 * 86400
_AGE = re.compile(r"(\d{1,6})\s*(s|min|h|d)", re.IGNORECASE)
# What lies beyond is as good as these: databases and time zones take no year before the first or after the last.
_EARLIEST, _LATEST = datetime(1970, 1, 2, tzinfo=UTC), datetime(9998, 1, 1, tzinfo=UTC)
_UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86400}
# A word of the search that says where to look: error:refused, or an argument: order_id=123.
_QUALIFIED = re.compile(r'(?<!\S)(?:(id|name|queue|worker|error|group|root|stamp):|([^\W\d]\w*)=)(?:"([^"]*)"|(\S*))')
#: What the words of the search are called in an address.
_ALIASES = {"error": "said"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a list of tasks is limited to; empty values limit nothing.

    Attributes:
        tab: the key of a tab.
        words: an id, the start or the end of one, or a part of a task's name.
        id: an id, the start or the end of one.
        argument: the name and the value of an argument.
        name, queue, worker, exception, group, root: equal to this.
        error: the key of an ``Error``.
        said: a part of the message of an exception, or of its class.
        stamp: a stamp, or ``stamp=value``.
        since, until: when the tasks were sent.
        before: rows with smaller numbers.
        unfit: a text that no row can have: nothing is found.
    """

    tab: str = ""
    words: str = ""
    id: str = ""
    argument: tuple[str, str] | None = None
    name: str = ""
    queue: str = ""
    worker: str = ""
    exception: str = ""
    error: str = ""
    said: str = ""
    group: str = ""
    root: str = ""
    stamp: str = ""
    since: datetime | None = None
    until: datetime | None = None
    before: int | None = None
    unfit: bool = False
    problems: tuple[str, ...] = ()

    @classmethod
    def of(cls, parameters: Mapping[str, str]) -> Wanted:
        """Read the parameters of an address, such as ``dict(request.GET.items())``. Never raises."""
        values: dict[str, Any] = {key: parameters.get(key, "").strip() for key in ("tab", *TEXTS)}
        values |= _searched(parameters.get("q", ""))
        problems = []
        for key in TIMES:
            text = parameters.get(key, "").strip()
            values[key] = _time(text)
            if text and values[key] is None:
                problems.append(_("%(text)s is no time: write 2026-01-31 08:00, or 30min, 24h or 7d.") % {"text": text})
        before = parameters.get("before", "")
        values["before"] = int(before) if before.isdecimal() and before.isascii() and len(before) < 19 else None
        # PostgreSQL does not even look for a NUL, and no database for half a surrogate pair.
        texts = [*filter(lambda value: isinstance(value, str), values.values()), *(values.get("argument") or ())]
        unfit = any("\0" in text or len(text) > _LONGEST or not _is_encodable(text) for text in texts)
        return cls(**values, unfit=unfit, problems=tuple(problems))

    @property
    def is_narrowed(self) -> bool:
        """Whether the list shows less than its tab."""
        rest = {field.name for field in fields(self)} - {"tab", "problems"}
        return any(getattr(self, name) for name in rest) or self.before is not None


def without_payloads(query: str) -> str:
    """Return the query of a list's address with dots for what is looked for in payloads; the names stay.

    >>> without_payloads("tab=failed&q=order_id%3D123+mail")
    'tab=failed&q=order_id%3D...+mail'
    """
    parameters = QueryDict(query.lstrip("?"), mutable=True)
    for name, values in list(parameters.lists()):
        parameters.setlist(name, [without_payload(name, text) for text in values])
    return parameters.urlencode()


def without_payload(name: str, text: str) -> str:
    """Return the value of one parameter for the log, with dots for what is looked for in payloads."""
    if name in _PAYLOADS:
        return "..."
    return _QUALIFIED.sub(_without_value, text) if name in ("q", "search") else text


def _without_value(found: re.Match[str]) -> str:
    kind, argument = found[1], found[2]
    if argument is not None:
        return f"{argument}=..."
    return f"{kind}:..." if kind in _PAYLOADS else found[0]


def _searched(text: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for match in _QUALIFIED.finditer(text):
        kind, argument, quoted, plain = match.groups()
        value = plain if quoted is None else quoted
        if argument is not None:
            found["argument"] = (argument, value)
        elif value:
            found[_ALIASES.get(kind, kind)] = value
    found["words"] = _QUALIFIED.sub("", text).strip()
    return found


def _time(text: str) -> datetime | None:
    """Read ``24h`` as so long ago, anything else as a time in the current time zone."""
    if match := _AGE.fullmatch(text):
        seconds = int(match[1]) * _UNITS[match[2].lower()]
        return timezones.now() - timedelta(seconds=seconds) if seconds < _LONGEST_AGE else _EARLIEST
    try:
        found = parse_datetime(text)
        if found is None and (day := parse_date(text)) is not None:
            found = datetime(day.year, day.month, day.day)
        return None if found is None else _within_reach(found)
    except (ValueError, OverflowError):  # the 31st of February
        return None


def _within_reach(found: datetime) -> datetime:
    if found.year < _EARLIEST.year or found.year > _LATEST.year:
        return _EARLIEST if found.year < _EARLIEST.year else _LATEST
    aware = timezone.make_aware(found) if found.tzinfo is None else found
    return min(max(aware, _EARLIEST), _LATEST)


def _is_encodable(text: str) -> bool:
    return text.encode(errors="replace").decode() == text
