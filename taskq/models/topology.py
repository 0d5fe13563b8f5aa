"""``Queue``, ``Exchange`` and ``Binding``: declared by workers and kombu programs on the database broker.

Tasks need none of it: a message row carries its queue's name.
"""

from __future__ import annotations

from django.db import models

from .fields import KeyField, NullableMomentField, PayloadField


class Queue(models.Model):
    """A declared queue. ``expires`` is in seconds of not being used; ``used_at`` is the last use."""

    name = KeyField(max_length=255, primary_key=True)
    durable = models.BooleanField(default=True)
    auto_delete = models.BooleanField(default=False)
    expires = models.FloatField(null=True)
    message_ttl = models.FloatField(null=True)
    arguments = PayloadField(default="{}")
    used_at = NullableMomentField(null=True)

    class Meta:
        permissions = [("pause_queue", "Can pause and resume queues"), ("purge_queue", "Can purge queues")]

    def __str__(self) -> str:
        return self.name


class Exchange(models.Model):
    """A declared exchange: direct, topic or fanout."""

    name = KeyField(max_length=255, primary_key=True)
    type = models.CharField(max_length=16, default="direct")
    durable = models.BooleanField(default=True)
    auto_delete = models.BooleanField(default=False)
    arguments = PayloadField(default="{}")

    def __str__(self) -> str:
        return self.name


class Binding(models.Model):
    """A queue bound to an exchange under a routing key or pattern."""

    id = models.BigAutoField(primary_key=True)
    exchange = KeyField(max_length=255)
    queue = KeyField(max_length=255)
    routing_key = KeyField(max_length=255, default="")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["exchange", "routing_key", "queue"], name="taskq_binding_once"),
        ]
        indexes = [models.Index(fields=["queue"], name="taskq_binding_by_queue")]

    def __str__(self) -> str:
        return f"{self.exchange} -> {self.queue} ({self.routing_key})"
