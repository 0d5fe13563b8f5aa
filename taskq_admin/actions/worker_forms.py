"""The forms of what workers can be told: their fields have the names of the commands' arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import forms
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

#: As many processes or threads as a pool has at most.
_MOST = 1000


class Suggesting(forms.TextInput):
    """A text with suggestions: a ``<datalist>``, which needs no script, and takes other texts too."""

    choices: Sequence[str] = ()

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        """Return the field with its suggestions."""
        field = super().render(name, value, {**(attrs or {}), "list": f"{name}-choices"}, renderer)
        options = format_html_join("", '<option value="{}"></option>', ((choice,) for choice in self.choices))
        return format_html('{}<datalist id="{}">{}</datalist>', field, f"{name}-choices", options)


class _Suggested(forms.Form):
    """A form whose ``suggested`` field has the choices that the action found."""

    suggested = ""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        widget = self.fields[self.suggested].widget
        assert isinstance(widget, Suggesting)
        widget.choices = self.initial.pop("choices", ())
        if len(widget.choices) == 1:
            self.initial[self.suggested] = widget.choices[0]


def _task() -> forms.CharField:
    return forms.CharField(label=_("Task"), max_length=255, widget=Suggesting(attrs={"size": 60}))


def _seconds(label: Any, help_text: Any) -> forms.FloatField:
    return forms.FloatField(label=label, help_text=help_text, required=False, min_value=0.1, max_value=1e7)


class Size(forms.Form):
    """By how many processes or threads."""

    n = forms.IntegerField(label=_("Processes or threads"), min_value=1, max_value=_MOST, initial=1)


class Autoscale(forms.Form):
    """The most and the fewest processes or threads."""

    max = forms.IntegerField(label=_("At most"), min_value=1, max_value=_MOST)
    min = forms.IntegerField(label=_("At least"), min_value=0, max_value=_MOST, initial=0)

    def clean(self) -> dict[str, Any]:
        """Check that there is room between them."""
        data: dict[str, Any] = super().clean() or self.cleaned_data
        if data.get("min", 0) > data.get("max", _MOST):
            raise forms.ValidationError(_("At least is more than at most."))
        return data


class AddQueue(forms.Form):
    """A queue that a worker is to read too."""

    queue = forms.CharField(
        label=_("Queue"),
        max_length=255,
        help_text=_("One of TASKQ_QUEUES, or a new one. It holds until the worker ends."),
    )


class CancelQueue(_Suggested):
    """A queue that a worker is to read no more."""

    suggested = "queue"
    queue = forms.CharField(
        label=_("Queue"),
        max_length=255,
        widget=Suggesting,
        help_text=_("What the worker holds of it still runs. It holds until the worker ends."),
    )


class RateLimit(_Suggested):
    """How often a worker starts a task."""

    suggested = "task_name"
    task_name = _task()
    rate_limit = forms.CharField(
        label=_("Rate"),
        required=False,
        max_length=50,
        help_text=_("10 a second, 100/m, 5/h; empty for no limit. It holds until the worker ends."),
    )

    def clean_rate_limit(self) -> str | None:
        """Return ``None`` for no limit."""
        return self.cleaned_data["rate_limit"] or None


class TimeLimit(_Suggested):
    """For how long a worker lets a task run."""

    suggested = "task_name"
    task_name = _task()
    soft = _seconds(_("Soft limit in seconds"), _("SoftTimeLimitExceeded is raised in the task."))
    hard = _seconds(_("Hard limit in seconds"), _("The task's process is killed. Empty for no limit."))


class Restart(forms.Form):
    """Whether code is imported anew."""

    reload = forms.BooleanField(label=_("Import the code anew"), required=False)
