"""The forms of the actions on tasks: what has to be said besides which tasks."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _
from kombu.utils import json as kombu_json

#: Ten years, in seconds.
_LONGEST_WAIT = 10 * 365 * 86_400
_TEXTAREA = {"rows": 4, "cols": 80, "spellcheck": "false", "autocomplete": "off"}


class JSONText(forms.CharField):
    """A list or an object in JSON; empty for "as it was". The value is its text, checked."""

    def __init__(self, kind: type[list[Any]] | type[dict[str, Any]], **options: Any) -> None:
        super().__init__(required=False, widget=forms.Textarea(attrs=_TEXTAREA), **options)
        self.kind = kind

    def clean(self, value: Any) -> str:
        """Return the text. Raises ``ValidationError`` if it is not what was asked for."""
        text: str = super().clean(value).strip()
        if text and not isinstance(parsed(text), self.kind):
            what = _("This has to be a list, such as [1, 2].") if self.kind is list else _("This has to be an object.")
            raise ValidationError(what)
        return text


def parsed(text: str) -> Any:
    """Return the value of a JSON text, with kombu's types such as datetimes. Raises ``ValidationError``."""
    try:
        json.loads(text, parse_constant=_refuse)
        text.encode()
        value = kombu_json.loads(text)
        json.dumps(value, default=str, ensure_ascii=False).encode()
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError) as error:
        raise ValidationError(_("This is no valid JSON: %(error)s") % {"error": str(error)[:200]}) from error
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def is_name(value: str) -> None:
    """Raise ``ValidationError`` for a text that can't be the name of a queue: one that is not printable."""
    if not value.isprintable():
        raise ValidationError(_("A name has printable characters only."))


class QueueField(forms.CharField):
    """The name of a queue."""

    def __init__(self, **options: Any) -> None:
        super().__init__(max_length=255, label=_("Queue"), validators=[is_name], **options)


class Move(forms.Form):
    """Where to."""

    queue = QueueField()


class Prioritize(forms.Form):
    """How soon."""

    priority = forms.IntegerField(
        label=_("Priority"), min_value=0, max_value=9, help_text=_("0 to 9; larger is sooner.")
    )


class Terminate(forms.Form):
    """By which signal, and after how long."""

    signal = forms.ChoiceField(
        label=_("Signal"), choices=[(name, name) for name in ("SIGTERM", "SIGINT", "SIGQUIT", "SIGUSR1", "SIGKILL")]
    )
    grace = forms.FloatField(
        label=_("Grace"),
        required=False,
        min_value=0,
        max_value=3600,
        help_text=_(
            "Seconds: TaskTerminated is raised in the task, and the signal follows if it has not ended by then."
        ),
    )


class Changed(forms.Form):
    """What is to be otherwise; what is empty stays as it was."""

    args = JSONText(list, label=_("Positional arguments"), help_text=_("A list in JSON."))
    kwargs = JSONText(dict, label=_("Keyword arguments"), help_text=_("An object in JSON."))
    queue = QueueField(required=False)
    countdown = forms.IntegerField(label=_("Seconds from now"), required=False, min_value=0, max_value=_LONGEST_WAIT)
    eta = forms.DateTimeField(label=_("Not before"), required=False, help_text=_("Such as 2026-01-31 08:00."))
    new = forms.BooleanField(label=_("As a new task, which leaves this one as it is"), required=False, initial=True)

    def clean(self) -> dict[str, Any]:
        """Check that the time is given once."""
        cleaned: dict[str, Any] = super().clean() or {}
        if cleaned.get("countdown") is not None and cleaned.get("eta") is not None:
            raise ValidationError(_("Give the seconds or the time, not both."))
        return cleaned
