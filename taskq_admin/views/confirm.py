"""The form of the confirm page: a reason, and what has to be typed. When it was shown, and the safe way back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from django import forms
from django.http import HttpRequest
from django.utils.dateparse import parse_datetime
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext_lazy as _

from taskq import timezones
from taskq.store import reading

#: Characters of a reason at most.
LONGEST_REASON = 500


class Confirm(forms.Form):
    """A reason, and a text that has to be typed exactly."""

    reason = forms.CharField(
        label=_("Reason"),
        required=False,
        max_length=LONGEST_REASON,
        help_text=_("Kept in the log with your name."),
        widget=forms.TextInput(attrs={"size": 60, "autocomplete": "off"}),
    )
    typed = forms.CharField(required=False, strip=False, widget=forms.TextInput(attrs={"autocomplete": "off"}))

    def __init__(self, expected: str, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(data, auto_id="id_confirm_%s", prefix="confirm", use_required_attribute=False)
        self.expected = expected
        if not expected:
            del self.fields["typed"]
        else:
            self.fields["typed"].label = _("Type %(text)s to confirm") % {"text": expected}

    def clean_typed(self) -> str:
        """Check that what was typed is what was asked for."""
        typed: str = self.cleaned_data["typed"]
        if typed.strip() != self.expected.strip():
            raise forms.ValidationError(_("This is not the text above: nothing was done."))
        return typed


def shown_at(request: HttpRequest) -> datetime:
    """Return when the page was shown that this request comes from; now, if it does not say so or can't be right.

    By the clock of the database, which writes the times that are compared with it. The page has the time of the machine
    that made it: how long ago that was is what counts here.
    """
    now = timezones.now()
    try:
        shown = parse_datetime(request.POST.get("shown", ""))
    except ValueError:
        shown = None
    age = max(now - shown, timedelta()) if shown is not None and shown.tzinfo is not None else timedelta()
    try:
        return reading.now() - age
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)


def way_back(request: HttpRequest, otherwise: str) -> str:
    """Return the address that ``next`` names, if it is one of this site, else ``otherwise``."""
    wanted = request.POST.get("next") or request.GET.get("next") or ""
    hosts = {request.get_host()}
    return wanted if url_has_allowed_host_and_scheme(wanted, hosts, request.is_secure()) else otherwise
