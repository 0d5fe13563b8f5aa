"""``TaskRun``: one row per task id, from sending to the end of its retention."""

from __future__ import annotations

from django.db import models

from taskq import states

from .fields import KeyField, MomentField, NullableLargeTextField, NullableMomentField, NullablePayloadField


class TaskRun(models.Model):
    """One task: its state, arguments, result and times.

    Written by ``taskq.store`` only. ``arguments`` is the text ``[args, kwargs]``;
    ``result`` is encoded text, for the exception states an exception as data,
    for a state of the user's own its metadata.
    """

    id = models.BigAutoField(primary_key=True)
    task_id = KeyField(max_length=255)
    name = KeyField(max_length=255, default="")
    state = KeyField(max_length=50, default=states.PENDING)
    queue = KeyField(max_length=255, default="")
    priority = models.SmallIntegerField(default=0)
    arguments = NullableLargeTextField(null=True)
    result = NullableLargeTextField(null=True)
    content_type = KeyField(max_length=64, default="application/json")
    traceback = NullablePayloadField(null=True)
    retries = models.IntegerField(default=0)
    worker = KeyField(max_length=255, default="")
    root_id = KeyField(max_length=255, default="")
    parent_id = KeyField(max_length=255, default="")
    group_id = KeyField(max_length=255, default="")
    children = NullablePayloadField(null=True)
    created_at = MomentField()
    eta = NullableMomentField(null=True)
    expires_at = NullableMomentField(null=True)
    started_at = NullableMomentField(null=True)
    finished_at = NullableMomentField(null=True)
    runtime = models.FloatField(null=True)

    class Meta:
        verbose_name = "task"
        verbose_name_plural = "tasks"
        permissions = [
            ("view_taskrun_payload", "Can see arguments and results"),
            ("retry_taskrun", "Can retry tasks with their own arguments"),
            ("run_taskrun", "Can run tasks with arguments of one's own"),
            ("revoke_taskrun", "Can revoke tasks"),
            ("terminate_taskrun", "Can terminate running tasks"),
            ("move_taskrun", "Can move waiting tasks to another queue"),
            ("prioritize_taskrun", "Can change the priority of waiting tasks"),
        ]
        # A constraint and not unique=True, for which Django would make a second index on PostgreSQL.
        constraints = [models.UniqueConstraint(fields=["task_id"], name="taskq_run_once")]
        indexes = [
            models.Index(fields=["state", "-id"], name="taskq_run_by_state"),
            # For retention: what is over age lies together, whatever its id.
            models.Index(fields=["state", "finished_at"], name="taskq_run_by_age"),
        ]

    def __str__(self) -> str:
        return f"{self.name}[{self.task_id}]"


class Attempt(models.Model):
    """A try of a task before its last one: it ended in a retry, or its process was lost or stopped."""

    id = models.BigAutoField(primary_key=True)
    task_id = KeyField(max_length=255)
    state = KeyField(max_length=50)
    retries = models.IntegerField(default=0)
    result = NullablePayloadField(null=True)
    traceback = NullablePayloadField(null=True)
    worker = KeyField(max_length=255, default="")
    started_at = NullableMomentField(null=True)
    finished_at = NullableMomentField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["task_id", "id"], name="taskq_attempt_by_task"),
            models.Index(fields=["finished_at"], name="taskq_attempt_by_age"),
        ]

    def __str__(self) -> str:
        return f"{self.task_id} #{self.retries}"
