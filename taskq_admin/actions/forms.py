"""The forms of the actions on tasks: what has to be said besides which tasks."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _


def is_name(value: str) -> None:
    """Raise ``ValidationError`` for a text that can't be the name of a queue: one that is not printable."""
    if not value.isprintable():
        raise ValidationError(_("A name has printable characters only."))


class QueueField(forms.CharField):
    """The name of a queue."""

    def __init__(self, **options: Any) -> None:
        super().__init__(max_length=255, label=_("Queue"), validators=[is_name], **options)


class PriorityField(forms.IntegerField):
    """0 to 9."""

    def __init__(self, **options: Any) -> None:
        help_text = _("0 to 9; larger is sooner.")
        super().__init__(label=_("Priority"), min_value=0, max_value=9, help_text=help_text, **options)


class Move(forms.Form):
    """Where to."""

    queue = QueueField()


class Prioritize(forms.Form):
    """How soon."""

    priority = PriorityField()


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
