"""Who did it, to what, and why: entries in Django's admin log. Called by the action view, and by commands.

The entries are in the database of ``auth``, taskq's rows may be in another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.contrib.admin.models import ADDITION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model
from django.utils import translation
from django.utils.translation import gettext

from taskq.models import TaskRun
from taskq_admin.queries.audit import MATCHING, mark
from taskq_admin.queries.wanted import without_payloads

from .base import Action, Who


def write(action: Action, rows: Sequence[Model], who: Who, failed: str = "", matching: str | None = None) -> None:
    """Write an entry for each row.

    ``failed`` is the class of the exception that ended the action, if one did. ``matching`` is the filter of the tasks
    that are acted upon, and the row is then the task that does it.
    """
    if rows:
        flag = action.flag if matching is None else ADDITION
        LogEntry.objects.log_actions(who.user.pk, rows, flag, _text(action, who, failed, matching))


def write_many(action: Action, text: str, who: Who) -> None:
    """Write one entry for many tasks, which ``text`` describes."""
    kind = ContentType.objects.get_for_model(TaskRun)
    LogEntry.objects.create(
        user_id=who.user.pk,
        content_type=kind,
        object_id="",
        object_repr=text[:200],
        action_flag=action.flag,
        change_message=_text(action, who, "", None),
    )


def _text(action: Action, who: Who, failed: str, matching: str | None) -> str:
    # The log is read by others: it is written in the site's language, not in that of the user.
    with translation.override(settings.LANGUAGE_CODE):
        parts: list[Any] = [action.label, f"({failed})" if failed else ""]
        if matching is not None:
            parts.append(gettext(MATCHING) % {"filter": without_payloads(matching)[:1000] or "?"})
        label = " ".join(str(part) for part in parts if part)
    # A text that begins with a bracket would be read as JSON.
    said = f"{label}: {who.reason}" if who.reason else label
    return said + mark(action.name)
