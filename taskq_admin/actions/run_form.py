"""The forms that send a task: for the first time, again with changes, and many again with changes.

All have the same options: queue, time and priority. One task whose function this process knows, and whose arguments may
be seen, has a field for each parameter; another one has its arguments as JSON; many have arguments to replace by name.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django import forms
from django.core.signing import BadSignature, Signer
from django.db import DatabaseError, transaction
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from kombu.exceptions import KombuError

from taskq import clock
from taskq.calls.again import stored_arguments
from taskq.calls.registry import tasks
from taskq.conf import settings
from taskq.exceptions import CannotRetry, EncodeError, QueueNotFound, TaskqError
from taskq.models import Revocation, TaskRun
from taskq_admin import parameters
from taskq_admin.badges import short
from taskq_admin.parameters import JSONText
from taskq_admin.queries import runs

from .forms import PriorityField, QueueField

#: Seconds that a task may be put off at most: what databases and timers can hold.
_LATEST = 10 * 365 * 24 * 3600
_OPTIONS = ("queue", "countdown", "eta", "priority")
_ARGUMENTS = frozenset({"args", "kwargs", "update_kwargs"})
_CHANGE = gettext_lazy("What is left as it is is sent as it was. An argument that is emptied gets its default.")
_GIVE_ALL = gettext_lazy(
    "Sensitive arguments are not kept, so none is filled in: give all of them. What is empty gets its default."
)


class Options(forms.Form):
    """Where, when, and how soon."""

    queue = QueueField(required=False)
    countdown = forms.FloatField(
        label=gettext_lazy("Seconds until it may start"), required=False, min_value=0, max_value=_LATEST
    )
    eta = forms.DateTimeField(
        label=gettext_lazy("Or the time when it may start"),
        required=False,
        help_text=gettext_lazy("Such as 2026-01-31 08:00."),
    )
    priority = PriorityField(required=False)

    def clean(self) -> dict[str, Any]:
        """Check that the time is given once."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if cleaned.get("countdown") is not None and cleaned.get("eta") is not None:
            self.add_error("eta", _("Give the seconds or the time, not both."))
        return cleaned


def given(data: Mapping[str, Any], *more: str) -> dict[str, Any]:
    """Return what was filled in: of the options, and of the fields ``more``."""
    return {name: data[name] for name in (*_OPTIONS, *more) if data.get(name) not in (None, "", {})}


class Signed(Options):
    """Has a field for each parameter of the task ``name``."""

    def __init__(
        self, name: str, data: Mapping[str, Any] | None = None, initial: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(data, initial=dict(initial or {}), use_required_attribute=False)
        self.name = name
        self.fields = {**parameters.fields(name), **self.fields}

    @property
    def about_call(self) -> list[Any]:
        """The fields of the parameters."""
        return [self[name] for name in self.fields if name.startswith(parameters.PREFIX)]

    @property
    def options(self) -> list[Any]:
        """The other fields."""
        return [self[name] for name in self.fields if not name.startswith(parameters.PREFIX)]

    def clean(self) -> dict[str, Any]:
        """Check what concerns several fields; ``args`` and ``kwargs`` are the call."""
        cleaned = super().clean()
        if not self.errors:
            try:
                args, kwargs = self._call(parameters.filled(self.name, cleaned, self._is_given))
            except TypeError as error:
                raise forms.ValidationError(str(error)) from None
            cleaned = {**cleaned, "args": args, "kwargs": kwargs}
        return cleaned

    def _call(self, values: Mapping[str, Any]) -> tuple[list[Any] | None, dict[str, Any] | None]:
        return parameters.call(self.name, values)

    def _is_given(self, field: str) -> bool:
        return bool(self.data.get(self.add_prefix(field)))


class RunForm(Signed):
    """Sends the task ``name`` when ``send`` is called on a valid form.

    One form sends once, while the database has the task's row or message: ``ticket`` has the id.
    """

    ticket = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(self, name: str, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(name, data, {"ticket": _signer().sign(str(uuid.uuid4()))})
        self.fields["queue"].help_text = _("Empty: where it is routed.")
        self.task_id = ""

    def clean_ticket(self) -> str:
        """Return the id that the task is to get. Others than this site's are refused: a task may have them."""
        ticket: str = self.cleaned_data["ticket"]
        try:
            return _signer().unsign(ticket) if ticket else str(uuid.uuid4())
        except BadSignature:
            raise forms.ValidationError(_("This form is not from this site, or too old: open it anew.")) from None

    def send(self) -> bool:
        """Send the task, and set ``task_id``; return false, with an error in the form, if it was refused."""
        data = self.cleaned_data
        try:
            with _alone(data["ticket"]):
                if runs.is_known(data["ticket"]):
                    self.add_error(None, _("This form was sent already, as %(id)s.") % {"id": data["ticket"]})
                    return False
                sent = tasks[self.name].apply_async(data["args"], data["kwargs"], task_id=data["ticket"], **given(data))
            self.task_id = str(sent.id)
        except QueueNotFound as error:
            self.add_error("queue", str(error))
        except (TaskqError, KombuError, DatabaseError, TypeError, ValueError, OSError) as error:
            self.add_error(None, f"{type(error).__name__}: {error}")
        return bool(self.task_id)


@contextmanager
def _alone(ticket: str) -> Iterator[None]:
    """Have a second request with this ticket wait for the end of the transaction, so that it sees what was sent.

    The row that it waits for is gone by then. It is one of a table whose key is unique, under an id that no task has.
    """
    rows = Revocation.objects.using(settings.DATABASE)
    with transaction.atomic(settings.DATABASE):
        row = rows.create(revoked_id=f"taskq_admin.run:{ticket}", created_at=clock.utc_now())
        yield
        rows.filter(pk=row.pk).delete()


def _signer() -> Signer:
    return Signer(salt="taskq_admin.run")


class _Again(Options):
    """A task that has ended, or many. ``shape`` says which of these forms was filled in."""

    shape = forms.CharField(widget=forms.HiddenInput, required=False)
    new = forms.BooleanField(
        label=gettext_lazy("As a new task, which leaves this one as it is"), required=False, initial=True
    )

    def _begin_as(self, shape: str) -> None:
        self.initial = {**self.initial, "shape": shape, "new": True}
        self.expected = shape

    def clean(self) -> dict[str, Any]:
        """Refuse arguments for another of these forms: a client that knows that one only must not be half heard."""
        cleaned = super().clean()
        foreign = [name for name in self.data if _is_of_call(name) and name not in self.fields and self.data.get(name)]
        if foreign:
            raise forms.ValidationError(_("This form has no field %(name)s.") % {"name": short(foreign[0])})
        return cleaned

    def clean_shape(self) -> str:
        """Check that what was chosen is still of the kind for which the form was shown."""
        shape: str = self.cleaned_data["shape"]
        if shape and shape != self.expected:
            raise forms.ValidationError(_("What was chosen has changed meanwhile: begin again."))
        return shape


def _is_of_call(name: str) -> bool:
    return name in _ARGUMENTS or name.startswith(parameters.PREFIX)


class RunAgainForm(Signed, _Again):
    """One task whose function is known. What is as it was is sent exactly as it was.

    Without ``before`` the arguments are not known: all of them have to be given, or none, for those of the row.
    """

    def __init__(self, name: str, data: Mapping[str, Any] | None, before: parameters.Before | None) -> None:
        typed = before.typed if before else {}
        # A field that was not sent is as it was. One that was emptied is not.
        super().__init__(name, None if data is None else {**typed, **{key: data[key] for key in data}}, typed)
        self.before = before
        self.question = _CHANGE if before else _GIVE_ALL
        self._begin_as("fields")

    def _call(self, values: Mapping[str, Any]) -> tuple[list[Any] | None, dict[str, Any] | None]:
        """Return no arguments if none differs from what the form began with: then those of the row are sent."""
        changed = {field.name.removeprefix(parameters.PREFIX) for field in self.about_call if self._differs(field)}
        if not changed:
            return None, None
        if self.before is not None:
            values = {**self.before.values, **{name: values[name] for name in changed}}
        return super()._call(values)

    def _differs(self, field: forms.BoundField) -> bool:
        typed = str(self.data.get(field.html_name) or "").replace("\r\n", "\n")
        return typed != (self.initial.get(field.name) or "") and field.name in self.changed_data


class RunAgainAsJSONForm(_Again):
    """One task whose function is not known here, or whose arguments may not be seen; empty is as it was."""

    args = JSONText(
        kind=list, required=False, label=gettext_lazy("Positional arguments"), help_text=gettext_lazy("A list in JSON.")
    )
    kwargs = JSONText(
        kind=dict, required=False, label=gettext_lazy("Keyword arguments"), help_text=gettext_lazy("An object in JSON.")
    )
    field_order = ("args", "kwargs")
    question = gettext_lazy("What is left as it is, or empty, is sent as it was.")

    def __init__(self, data: Mapping[str, Any] | None, before: Mapping[str, str]) -> None:
        super().__init__(data, initial=dict(before))
        self._begin_as("json")

    def clean(self) -> dict[str, Any]:
        """Leave out the arguments whose text is as it was."""
        cleaned = super().clean()
        for name in ("args", "kwargs"):
            if str(self.data.get(name) or "").strip() == self.initial.get(name):
                cleaned[name] = None
        return cleaned


class RunManyAgainForm(_Again):
    """Many tasks, also of different names."""

    update_kwargs = JSONText(
        kind=dict,
        required=False,
        label=gettext_lazy("Arguments to replace"),
        help_text=gettext_lazy('An object in JSON, such as {"order_id": 17}: by name, others stay as they were.'),
    )
    field_order = ("update_kwargs",)
    question = gettext_lazy("What is left empty is sent as it was.")

    def __init__(self, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(data)
        self._begin_as("many")
        self.fields["new"].label = _("As new tasks, which leave these as they are")


class CannotFill(Exception):
    """Why a form can't begin with the arguments of an earlier run."""


class Hidden(CannotFill):
    """The task has sensitive arguments, so its row does not hold all of them."""


def arguments_of(run: TaskRun) -> parameters.Before:
    """Return what the form of the task begins with to run ``run`` again. Raises ``CannotFill``."""
    if tasks[run.name].sensitive:
        raise Hidden(_("The task has sensitive arguments, which its row does not hold: fill them in."))
    try:
        stored = stored_arguments(run)
        return parameters.before(run.name, stored.args, stored.kwargs)
    except (CannotRetry, EncodeError, ValueError, TypeError, RecursionError) as error:
        raise CannotFill(_("Its arguments are not kept as they were, so they are not filled in.")) from error


def described(form: Signed) -> dict[str, Any]:
    """Return the form as plain values."""
    return {
        "task": form.name,
        "fields": [
            {"name": name, "label": str(field.label), "required": field.required, "help": str(field.help_text)}
            for name, field in form.fields.items()
            if not field.widget.is_hidden
        ],
        "errors": form.errors,
    }
