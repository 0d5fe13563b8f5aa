"""Who did what: entries of Django's admin log about rows of taskq, the newest first. Reads only.

The log has few indexes: the newest ``NEWEST`` entries are looked at, and ``before`` goes on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.contrib.contenttypes.models import ContentType
from django.db.models import Q
from django.utils import translation
from django.utils.translation import gettext, gettext_noop

from .wanted import Wanted

#: Entries that are looked at, those of a page, and the permission to see them.
NEWEST, PAGE = 20_000, 50
PERMISSION = "admin.view_logentry"
#: What an address may ask for.
PARAMETERS = ("who", "action", "of", "object", "id", "since", "before")
#: What an entry says after the action's label if it was for all that match a filter.
MATCHING = gettext_noop("all that match %(filter)s")
_LONGEST = 255


@dataclass(frozen=True, slots=True)
class Found:
    """Entries, the number of the last one if there are more, whether older ones were not looked at, and problems."""

    entries: list[LogEntry]
    older: int | None
    cut: bool
    problems: tuple[str, ...] = ()


def find(asked: Mapping[str, str], label: str = "") -> Found:
    """Return the entries that meet all of: the user's name, the action, the model, the object, the time.

    The action is a key such as ``taskrun.retry``, with which entries end; ``label`` is what older ones begin with.

    ``object`` is a row's number or a part of its name, ``id`` exactly what the log has as the row's id.
    """
    times = Wanted.of({"since": asked.get("since", "")})
    entries = LogEntry.objects.order_by("-pk")
    before = asked.get("before", "")
    if before.isdecimal() and len(before) < 19:
        entries = entries.filter(pk__lt=int(before))
    last = entries[NEWEST - 1 : NEWEST].first()
    floor = None if last is None else last.pk
    if floor is not None:
        entries = entries.filter(pk__gte=floor)
    if times.since is not None:
        entries = entries.filter(action_time__gte=times.since)
        if last is not None and last.action_time < times.since:
            floor = None  # older ones are not wanted
    rows = list(entries.filter(_conditions(asked, label)).select_related("user", "content_type")[: PAGE + 1])
    more = len(rows) > PAGE
    older = rows[PAGE - 1].pk if more else floor
    return Found(rows[:PAGE], older, cut=not more and floor is not None, problems=times.problems)


def _conditions(asked: Mapping[str, str], label: str) -> Q:
    """Return what entries have to meet besides their time."""
    values = {name: asked.get(name, "").strip() for name in PARAMETERS}
    if any("\0" in value or len(value) > _LONGEST for value in values.values()):
        return Q(pk__in=())
    models = [model for model in apps.get_app_config("taskq").get_models()]
    of = [model for model in models if model._meta.model_name == values["of"]] or models
    found = Q(content_type__in=list(ContentType.objects.get_for_models(*of, for_concrete_models=False).values()))
    if values["who"]:
        found &= Q(**{f"user__{get_user_model().USERNAME_FIELD}": values["who"]})
    if values["action"]:
        found &= Q(change_message__endswith=mark(values["action"])) | _says(label or values["action"])
    if values["id"]:
        found &= Q(object_id=values["id"])
    if values["object"]:
        found &= Q(object_id=values["object"]) | Q(object_repr__contains=values["object"])
    return found


def mark(key: str) -> str:
    """Return what an entry ends with: which action it was, in whatever language it says so."""
    return f" [{key}]"


def said(entry: LogEntry) -> tuple[str, str]:
    """Return what an entry says, and the key of the action; empty for one without, that an older version wrote."""
    text = str(entry.get_change_message())
    found = re.search(_marks(), text)
    return (text[: found.start()], found[1]) if found else (text, "")


def _marks() -> str:
    """Return the pattern of all marks: a reason may end with brackets too."""
    models = "|".join(sorted(str(model._meta.model_name) for model in apps.get_app_config("taskq").get_models()))
    return rf" \[((?:{models})\.[a-z0-9_-]+)\]$"


def _says(label: str) -> Q:
    """Return the condition that an entry without a key is of the action with this label, in the site's language.

    Another one's may begin with it.
    """
    with translation.override(settings.LANGUAGE_CODE):
        matching = gettext(MATCHING).partition("%(filter)s")[0]
    found = Q(change_message=label)
    for after in (":", " (", f" {matching}"):
        found |= Q(change_message__startswith=label + after)
    return found & ~Q(change_message__regex=_marks())


def plain(entry: LogEntry) -> dict[str, Any]:
    """Return an entry as plain values."""
    text, action = said(entry)
    return {
        "at": entry.action_time,
        "who": entry.user.get_username(),
        "said": text,
        "action": action,
        "of": entry.content_type.model if entry.content_type else "",
        "id": entry.object_id,
        "object": entry.object_repr,
    }
