"""``TaskEvent``: something that happened to a task on its way, kept while events are on."""

from __future__ import annotations

from django.db import models

from .fields import KeyField, MomentField


class TaskEvent(models.Model):
    """One event of a task: ``kind`` is received, retried or revoked, ``worker`` the node that says so.

    ``detail`` says why a task was revoked, and by which signal. Starts and ends are in ``TaskRun`` and ``Attempt``.
    """

    id = models.BigAutoField(primary_key=True)
    task_id = KeyField(max_length=255)
    kind = KeyField(max_length=16)
    at = MomentField()
    worker = KeyField(max_length=255, default="")
    detail = KeyField(max_length=255, default="")

    class Meta:
        # None for retention: ids are in the order of age.
        indexes = [models.Index(fields=["task_id"], name="taskq_event_by_task")]

    def __str__(self) -> str:
        return f"{self.task_id} {self.kind}"
