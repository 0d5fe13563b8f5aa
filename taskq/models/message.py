"""``Message`` and ``ScheduledMessage``: the database as a broker. ``KeptMessage``: what a failed task was sent with.

The table of a message is its state. Messages that are due later have a table of their own, so that
they cost the live queue nothing.
"""

from __future__ import annotations

from django.db import models

from .fields import KeyField, LargeTextField, MomentField, NullableMomentField, OrderedId, PayloadField

#: The order in which the waiting messages of a queue are claimed; for ``order_by``. An index has it.
CLAIM_ORDER = ("-priority", OrderedId())
#: The order in which scheduled messages are promoted.
DUE_ORDER = ("due_at", OrderedId())


class BaseMessage(models.Model):
    """The columns that waiting and scheduled messages share. Payloads are text as on the wire."""

    id = models.BigAutoField(primary_key=True)
    queue = KeyField(max_length=255)
    task_id = KeyField(max_length=255, default="")
    name = KeyField(max_length=255, default="")
    priority = models.SmallIntegerField(default=0)
    headers = PayloadField()
    body = LargeTextField()
    content_type = KeyField(max_length=64, default="application/json")
    content_encoding = KeyField(max_length=64, default="utf-8")
    properties = PayloadField()
    exchange = KeyField(max_length=255, default="")
    routing_key = KeyField(max_length=255, default="")
    tracked = models.BooleanField(default=False)
    deliveries = models.SmallIntegerField(default=0)
    redelivered = models.BooleanField(default=False)
    expires_at = NullableMomentField(null=True)
    created_at = MomentField()

    #: Whether ``store.texts`` has read large texts as empty ones. No column.
    shortened = False

    class Meta:
        abstract = True


class Message(BaseMessage):
    """A message that may run now.

    ``token`` is the boot token of the worker that holds it, empty while it waits.
    ``acked`` is true if its end is settled already: it never runs again.
    ``revoked`` is a request to the holder: ``revoke``, or the name of a signal that ends the task.
    ``promoted`` is true if the message was in the schedule: it is due, whatever its header ``eta`` says.
    """

    token = KeyField(max_length=36, default="")
    acked = models.BooleanField(default=False)
    revoked = models.CharField(max_length=16, default="")
    promoted = models.BooleanField(default=False, db_default=False)

    class Meta:
        indexes = [
            # Serves the claim (no token, one queue, in order) and what asks for all that a worker holds. On PostgreSQL
            # a migration makes it, and that of the schedule, with another id: see ``engines.storage``.
            models.Index(fields=["token", "queue", "-priority", "id"], name="taskq_message_to_claim"),
            models.Index(fields=["task_id"], name="taskq_message_by_task"),
        ]

    def __str__(self) -> str:
        return f"{self.name or 'message'} in {self.queue}"


class ScheduledMessage(BaseMessage):
    """A message that is due at ``due_at`` by the database's clock."""

    due_at = MomentField()

    class Meta:
        indexes = [
            models.Index(fields=["due_at", "id"], name="taskq_scheduled_due"),
            models.Index(fields=["task_id"], name="taskq_scheduled_by_task"),
        ]

    def __str__(self) -> str:
        return f"{self.name or 'message'} for {self.queue} at {self.due_at}"


class KeptMessage(BaseMessage):
    """The message of a task that has failed, and that other tasks were to follow: a retry sends it again.

    Only the message has the rest of the chain, the callbacks and the group. It is deleted when the task is
    retried or its ``TaskRun`` expires; retention finds it if the ``TaskRun`` has gone otherwise. A row that is older
    than the ``TaskRun`` belongs to an earlier task with this id.
    """

    #: What is sent again does not expire. No column.
    expires_in = None

    class Meta:
        constraints = [models.UniqueConstraint(fields=["task_id"], name="taskq_kept_once")]

    def __str__(self) -> str:
        return f"{self.name or 'message'} of {self.task_id}"
