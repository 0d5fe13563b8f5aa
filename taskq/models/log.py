"""``TaskLog``: lines that a task has logged, kept while ``TASKQ_KEEP_TASK_LOGS`` is on."""

from __future__ import annotations

from django.db import models

from .fields import KeyField, MomentField, PayloadField


class TaskLog(models.Model):
    """Some lines of one start of a task, in the order of ids.

    ``started_at`` says which start: it is that of the ``TaskRun``, or of the ``Attempt``. ``at`` is when the lines were
    written. ``lines`` is JSON: a list of ``[Unix time, level as a number, logger, text]``; a number in the place of a
    line says how many lines are not kept.
    """

    id = models.BigAutoField(primary_key=True)
    task_id = KeyField(max_length=255)
    started_at = MomentField()
    at = MomentField()
    lines = PayloadField()

    class Meta:
        # None for retention: ids are in the order of age.
        indexes = [models.Index(fields=["task_id", "id"], name="taskq_log_by_task")]

    def __str__(self) -> str:
        return f"{self.task_id} {self.at}"
