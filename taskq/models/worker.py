"""``Worker``: a running worker, and the lease of all that it holds. ``Lease``: which worker leads."""

from __future__ import annotations

from django.db import models

from .fields import KeyField, MomentField, NullableMomentField, PayloadField


class Worker(models.Model):
    """One boot of one worker. Its row is the lease of every message with its token.

    The row of a worker that died is kept for an hour with the state ``LOST``, under a token of its own: it is no lease.
    """

    #: The state of a consuming connection of kombu, which is no worker but has a lease.
    CONSUMER = "consumer"
    LOST = "lost"

    token = KeyField(max_length=36, primary_key=True)
    name = KeyField(max_length=255)
    host = KeyField(max_length=255, default="")
    pid = models.IntegerField(default=0)
    process_started = models.BigIntegerField(default=0)
    beats = models.BigIntegerField(default=0)
    lease = models.FloatField(default=30.0)
    state = models.CharField(max_length=16, default="running")
    info = PayloadField(default="{}")
    started_at = MomentField()
    seen_at = MomentField()

    class Meta:
        permissions = [
            ("control_worker", "Can change the pools, queues and limits of workers"),
            ("shutdown_worker", "Can shut workers down"),
            ("toggle_events", "Can turn events on and off"),
        ]

    def __str__(self) -> str:
        return self.name


class Lease(models.Model):
    """A duty that at most one living worker has, such as deleting old rows."""

    #: The row whose ``done_at`` says when a whole pass of deleting old rows ended.
    RETENTION = "retention"

    name = models.CharField(max_length=64, primary_key=True)
    holder = KeyField(max_length=36, default="")
    done_at = NullableMomentField(null=True)

    def __str__(self) -> str:
        return self.name
