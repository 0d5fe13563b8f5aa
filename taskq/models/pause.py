"""``QueuePause``: a queue from which no worker takes tasks for now."""

from __future__ import annotations

from django.db import models

from .fields import KeyField, MomentField, NullableMomentField


class QueuePause(models.Model):
    """A paused queue: since when, by whom, why, and until when; null is until somebody resumes it."""

    queue = KeyField(max_length=255, primary_key=True)
    since = MomentField()
    until = NullableMomentField(null=True)
    by = models.CharField(max_length=255, default="")
    reason = models.CharField(max_length=255, default="")

    def __str__(self) -> str:
        return self.queue
