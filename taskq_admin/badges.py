"""Small pieces of HTML for table cells: a state, a point in time. All text is escaped."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from taskq import timezones
from taskq_admin.queries import durations

#: The most characters of a name or an id.
LONGEST = 255
#: Where a name may break: behind the signs that join its words.
_BREAKS = re.compile(r"(?<=[._/:@-])(?=[^._/:@-])")
#: The colour of each state, by the name of its CSS class; others are neutral.
_TONES = {
    "SUCCESS": "good",
    "running": "good",
    "FAILURE": "bad",
    "silent": "bad",
    "lost": "bad",
    "no worker": "bad",
    "REVOKED": "off",
    "REJECTED": "off",
    "IGNORED": "off",
    "STARTED": "busy",
    "RETRY": "warn",
    "stopping": "warn",
    "paused": "warn",
}


def short(text: object) -> str:
    """Return ``text``, cut if it is longer than any name or id that taskq writes: SQLite's columns take any length."""
    shown = str(text)
    return shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}…"


def breakable(text: object) -> SafeString:
    """Return a name that breaks between its words, and within one only if there is no other place.

    >>> breakable("shop.send_mail")
    'shop.<wbr>send_<wbr>mail'
    """
    return format_html_join("", "{}{}", _words(str(text)))


def _words(text: str) -> Iterator[tuple[str, SafeString]]:
    *parts, last = _BREAKS.split(text)
    for part in parts:
        yield part, SafeString("<wbr>")
    yield last, SafeString("")


def badge(state: str) -> SafeString:
    """Return ``state`` as a coloured label; a task's own states look like ``STARTED``."""
    tone = _TONES.get(state, "wait" if state in ("PENDING", "RECEIVED", "NOT SENT") else "busy")
    return format_html('<span class="taskq-badge taskq-{}">{}</span>', tone, short(state))


def moment(at: datetime | None) -> SafeString:
    """Return a point in time in the current time zone, to the second; more of it on hovering."""
    if at is None:
        return SafeString("")
    local = timezone.localtime(at) if timezone.is_aware(at) else at
    text = date_format(local, "Y-m-d H:i:s")
    return format_html('<time datetime="{}" title="{}">{}</time>', at.isoformat(), local.isoformat(" "), text)


def clock(at: datetime | None) -> SafeString:
    """Return a time of day in the current time zone, to the millisecond; the date on hovering."""
    if at is None:
        return SafeString("")
    local = timezone.localtime(at)
    text = f"{local:%H:%M:%S}.{local.microsecond // 1000:03}"
    return format_html('<time datetime="{}" title="{}">{}</time>', at.isoformat(), local.isoformat(" "), text)


def ago(at: datetime | None) -> SafeString:
    """Return how long ago ``at`` was, or in how long it will be; the script of the pages keeps it right."""
    return _clock(at, _("%s ago"), _("in %s"))


def elapsed(at: datetime | None) -> SafeString:
    """Return the time since ``at``, as of something that goes on; the script of the pages keeps it right."""
    return _clock(at, "%s", "%s")


def _clock(at: datetime | None, past: str, future: str) -> SafeString:
    seconds = durations.between(at, timezones.now())
    if at is None or seconds is None:
        return moment(at)
    text = (past if seconds >= 0 else future) % durations.words(int(abs(seconds)))
    return format_html(
        '<time datetime="{}" title="{}" data-taskq-clock="{}" data-taskq-until="{}">{}</time>',
        at.isoformat(),
        date_format(timezone.localtime(at), "Y-m-d H:i:s"),
        past,
        future,
        text,
    )
