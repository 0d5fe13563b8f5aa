"""``Failure``, ``Error`` and ``ErrorCount``: failed runs, those that are alike together, and how many when."""

from __future__ import annotations

from django.db import models

from .fields import KeyField, MomentField


class Failure(models.Model):
    """What a failed run raised. ``run_id`` is the id of its ``TaskRun``, ``error`` the key of its ``Error``.

    A run that is sent again under its id may leave its row here, until it fails again or is deleted: read the state
    of the run too.
    """

    run_id = models.BigIntegerField(primary_key=True)
    error = KeyField(max_length=16)
    exception = KeyField(max_length=255)
    message = KeyField(max_length=500)

    class Meta:
        indexes = [
            models.Index(fields=["error", "-run_id"], name="taskq_failure_by_error"),
            models.Index(fields=["exception", "-run_id"], name="taskq_failure_by_class"),
        ]

    def __str__(self) -> str:
        return f"{self.exception}: {self.message}"


class Error(models.Model):
    """Failures that are alike: of one task, with one class of exception, and messages that differ in values only.

    ``key`` is their fingerprint (``taskq.messages.fingerprints``). ``message`` is that of the last one, whose
    ``TaskRun`` has the id ``last_run``.
    """

    key = KeyField(max_length=16, primary_key=True)
    name = KeyField(max_length=255)
    exception = KeyField(max_length=255)
    message = KeyField(max_length=500)
    first_seen = MomentField()
    last_seen = MomentField()
    last_run = models.BigIntegerField()

    class Meta:
        verbose_name = "error"
        verbose_name_plural = "errors"
        indexes = [models.Index(fields=["-last_seen", "key"], name="taskq_error_by_age")]

    def __str__(self) -> str:
        return f"{self.name}: {self.exception}"


class ErrorCount(models.Model):
    """How many runs failed with an ``Error`` in the ten minutes from ``period``, a Unix time."""

    #: The seconds of a period.
    SECONDS = 600

    id = models.BigAutoField(primary_key=True)
    error = KeyField(max_length=16)
    period = models.BigIntegerField()
    failures = models.BigIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["error", "period"], name="taskq_errorcount_once")]
        indexes = [models.Index(fields=["period"], name="taskq_errorcount_by_age")]

    def __str__(self) -> str:
        return f"{self.error} from {self.period}"
