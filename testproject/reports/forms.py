"""The form that asks for a file or for one of the samples."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import FileExtensionValidator

from .models import Report
from .samples import SAMPLES
from .uploads import ENDINGS, read_text


class ReportForm(forms.Form):
    """A file of the user's own, or a sample."""

    sample = forms.ChoiceField(choices=[("", "— my own file —"), *((name, name) for name in SAMPLES)], required=False)
    file = forms.FileField(
        required=False,
        validators=[FileExtensionValidator(ENDINGS)],
        help_text="A CSV file with a header, or plain text in UTF-8 (.txt); 1 MB and 10,000 lines at most.",
    )

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        upload, sample = cleaned.get("file"), cleaned.get("sample")
        if bool(upload) == bool(sample):
            raise ValidationError("Choose either a file or a sample.")
        if sample:
            cleaned["title"], cleaned["source"] = sample, SAMPLES[sample]
        else:
            cleaned["title"], cleaned["source"] = upload.name[:200], read_text(upload)
        return cleaned

    def save(self) -> Report:
        """Store the report that was asked for, with nothing in it yet."""
        return Report.objects.create(title=self.cleaned_data["title"], source=self.cleaned_data["source"])
