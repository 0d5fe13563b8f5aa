"""One row per file that somebody wants a report on."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.urls import reverse

from taskq import AsyncResult


class Report(models.Model):
    """An uploaded file, the task that reads it, and what that task found."""

    title = models.CharField(max_length=200)
    source = models.TextField()
    summary = models.JSONField(null=True, blank=True)
    task_id = models.CharField(max_length=255, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return self.title

    def get_absolute_url(self) -> str:
        return reverse("report", args=[self.pk])

    @property
    def result(self) -> AsyncResult[Any]:
        """Return the handle of the task that builds this report."""
        return AsyncResult(self.task_id)

    @property
    def state(self) -> str:
        # A finished report needs no look at its task, whose row is deleted some day.
        return "SUCCESS" if self.summary is not None else self.result.state
