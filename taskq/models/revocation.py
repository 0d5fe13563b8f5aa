"""``Revocation``: a task that was revoked before it was sent."""

from __future__ import annotations

from django.db import models

from .fields import KeyField, MomentField


class Revocation(models.Model):
    """The id of a task that was revoked before its message existed. The claim marks such messages as revoked.

    Few rows: a task that waits, runs or has ended has none. The column is not named ``task_id``, so that the subquery
    of the claim names the message's ``task_id`` without an alias.
    """

    revoked_id = KeyField(max_length=255, primary_key=True)
    created_at = MomentField()

    class Meta:
        indexes = [models.Index(fields=["created_at"], name="taskq_revocation_by_age")]

    def __str__(self) -> str:
        return self.revoked_id
