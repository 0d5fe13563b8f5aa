"""``Rerun``: a task that somebody ran again as a new one."""

from __future__ import annotations

from django.db import models

from .fields import KeyField, MomentField


class Rerun(models.Model):
    """The task ``task_id`` was sent to run the task ``of_task_id`` again: when, by whom, and why."""

    id = models.BigAutoField(primary_key=True)
    task_id = KeyField(max_length=255)
    of_task_id = KeyField(max_length=255)
    by = models.CharField(max_length=255, default="")
    reason = models.CharField(max_length=255, default="")
    created_at = MomentField()

    class Meta:
        indexes = [
            models.Index(fields=["task_id"], name="taskq_rerun_by_task"),
            models.Index(fields=["of_task_id"], name="taskq_rerun_by_origin"),
            models.Index(fields=["created_at"], name="taskq_rerun_by_age"),
        ]

    def __str__(self) -> str:
        return f"{self.task_id} of {self.of_task_id}"
