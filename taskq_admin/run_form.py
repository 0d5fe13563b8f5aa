"""The form that sends a task: one field for each parameter, and the queue, the time and the priority."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from kombu.exceptions import KombuError

from taskq.calls.registry import tasks
from taskq.exceptions import QueueNotFound, TaskqError
from taskq.models import TaskRun

from . import parameters

#: Seconds that a task may be put off at most: what databases and timers can hold.
_LATEST = 10 * 365 * 24 * 3600
LONGEST_REASON = 500


class RunForm(forms.Form):
    """Sends the task ``name`` when ``send`` is called on a valid form."""

    queue = forms.CharField(
        label=gettext_lazy("Queue"),
        required=False,
        max_length=255,
        help_text=gettext_lazy("Empty: where it is routed."),
    )
    countdown = forms.FloatField(
        label=gettext_lazy("Seconds until it may start"), required=False, min_value=0, max_value=_LATEST
    )
    eta = forms.DateTimeField(label=gettext_lazy("Or the time when it may start"), required=False)
    priority = forms.IntegerField(
        label=gettext_lazy("Priority"), required=False, min_value=0, max_value=9, help_text=gettext_lazy("9 is first.")
    )
    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        required=False,
        max_length=LONGEST_REASON,
        help_text=gettext_lazy("Kept in the log with your name."),
    )

    def __init__(self, name: str, data: Mapping[str, Any] | None = None, initial: dict[str, Any] | None = None) -> None:
        super().__init__(data, initial=initial or {}, use_required_attribute=False)
        self.name = name
        self.fields = parameters.fields(name) | self.fields
        self.task_id = ""

    @property
    def about_call(self) -> list[Any]:
        """The fields of the parameters."""
        return [self[name] for name in self.fields if name.startswith(parameters.PREFIX)]

    @property
    def options(self) -> list[Any]:
        """The other fields."""
        return [self[name] for name in self.fields if not name.startswith(parameters.PREFIX)]

    def clean(self) -> dict[str, Any]:
        """Check what concerns several fields."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if cleaned.get("countdown") is not None and cleaned.get("eta") is not None:
            self.add_error("eta", _("Give the seconds or the time, not both."))
        if not self.errors:
            try:
                self._args, self._kwargs = parameters.call(self.name, cleaned, self._is_given)
            except TypeError as error:
                raise forms.ValidationError(str(error)) from None
        return cleaned

    def _is_given(self, field: str) -> bool:
        return bool(self.data.get(self.add_prefix(field)))

    def send(self) -> bool:
        """Send the task, and set ``task_id``; return false, with an error in the form, if it was refused."""
        options = {
            name: self.cleaned_data[name]
            for name in ("queue", "countdown", "eta", "priority")
            if self.cleaned_data[name] not in (None, "")
        }
        try:
            self.task_id = str(tasks[self.name].apply_async(self._args, self._kwargs, **options).id)
        except QueueNotFound as error:
            self.add_error("queue", str(error))
        except (TaskqError, KombuError, TypeError, ValueError, OSError) as error:
            self.add_error(None, f"{type(error).__name__}: {error}")
        return bool(self.task_id)


class CannotFill(Exception):
    """Why a form can't begin with the arguments of an earlier run."""


def arguments_of(run: TaskRun) -> dict[str, Any]:
    """Return what the form of the task begins with to run ``run`` again. Raises ``CannotFill``."""
    if tasks[run.name].sensitive:
        raise CannotFill(_("The task has sensitive arguments, which its row does not hold: fill them in."))
    try:
        match json.loads(run.arguments or "null"):
            case [list() as args, dict() as kwargs, *notes] if not any(_spoils(note) for note in notes):
                return parameters.initial(run.name, args, kwargs)
    except (ValueError, TypeError, RecursionError):
        pass
    raise CannotFill(_("Its arguments are not kept as they were, so they are not filled in."))


def _spoils(note: Any) -> bool:
    """Tell whether a note says that the arguments are not those that were sent."""
    return isinstance(note, dict) and (note.get("masked") is True or note.get("exact") is False)


def described(form: RunForm) -> dict[str, Any]:
    """Return the form as plain values."""
    return {
        "task": form.name,
        "fields": [
            {"name": name, "label": str(field.label), "required": field.required, "help": str(field.help_text)}
            for name, field in form.fields.items()
        ],
        "errors": form.errors,
    }
