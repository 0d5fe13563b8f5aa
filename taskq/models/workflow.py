"""``Group`` and ``Node``: a workflow as rows, for counting, reading, drawing and revoking.

The message decides which task runs next, and for the rest of a long chain ``Group.body``; these rows are written in the
same transactions. The state of a node is the
state of the ``TaskRun`` with its task id. If the result was ignored, the node itself has the state.
"""

from __future__ import annotations

from django.db import models

from .fields import KeyField, MomentField, NullableLargeTextField


class Group(models.Model):
    """A group, or the header of a chord: how many of its members have not ended.

    ``body`` is sent when ``remaining`` is 0: a frozen signature in JSON. It is ``None`` if no body waits for the
    group, or no longer. ``failed`` is true if a member, and so the body, has failed. A row of ``size`` 0 counts
    nothing: it keeps the results of a saved group, the rest of a long chain (``workflows.rests``), follow-ups that
    are sent in parts (``workflows.parts``), or the large result of a task that is not settled yet
    (``store.large_results``).
    """

    id = models.BigAutoField(primary_key=True)
    group_id = KeyField(max_length=255)
    size = models.IntegerField()
    remaining = models.IntegerField()
    failed = models.BooleanField(default=False)
    body = NullableLargeTextField(null=True)
    root_id = KeyField(max_length=255, default="")
    parent_id = KeyField(max_length=255, default="")
    created_at = MomentField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["group_id"], name="taskq_group_once")]
        indexes = [models.Index(fields=["created_at"], name="taskq_group_by_age")]

    def __str__(self) -> str:
        return f"{self.group_id}: {self.remaining} of {self.size} remain"


class Node(models.Model):
    """One task of a workflow, sent or not. ``waits_for`` is the task or group after which it runs.

    ``group_id`` and ``position`` name its place in the group that counts it. ``ignored``: its ``TaskRun`` is kept for
    the chord's body only. ``revoked``: it was revoked before it was sent. ``state`` is its final state if no
    ``TaskRun`` is kept, else empty. While ``TASKQ_SIGNING`` is on, ``kind`` has a seal of the node behind its word.
    """

    id = models.BigAutoField(primary_key=True)
    root_id = KeyField(max_length=255)
    task_id = KeyField(max_length=255)
    name = KeyField(max_length=255, default="")
    kind = models.CharField(max_length=16, default="task")
    group_id = KeyField(max_length=255, default="")
    position = models.IntegerField(default=0)
    waits_for = KeyField(max_length=255, default="")
    ignored = models.BooleanField(default=False)
    revoked = models.BooleanField(default=False)
    state = models.CharField(max_length=50, default="")
    created_at = MomentField()

    class Meta:
        # The admin shows nodes by their workflows.
        verbose_name = "workflow"
        verbose_name_plural = "workflows"
        constraints = [models.UniqueConstraint(fields=["task_id"], name="taskq_node_once")]
        indexes = [
            models.Index(fields=["root_id"], name="taskq_node_by_root"),
            models.Index(fields=["group_id", "position"], name="taskq_node_by_group"),
            models.Index(fields=["created_at"], name="taskq_node_by_age"),
        ]

    def __str__(self) -> str:
        return f"{self.name}[{self.task_id}]"
