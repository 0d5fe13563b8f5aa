"""``Statistic``: how many tasks of a name ended in a queue, in one minute or one hour, and how long they took."""

from __future__ import annotations

from django.db import models

from taskq.histograms import BUCKETS

from .fields import KeyField


class Statistic(models.Model):
    """What ended in the ``seconds`` from ``period``, a Unix time: 60 for a minute, 3600 for an hour.

    ``name`` is empty for tasks that no worker knew. The sum of all names of a queue is a row too, with -60 or -3600
    ``seconds`` and no name. Beside the columns below there are ``waited_0`` to ``waited_11``
    and ``ran_0`` to ``ran_11``: histograms of the times between a message's writing and its start, and of runs, with
    the bounds of ``taskq.histograms``.
    """

    id = models.BigAutoField(primary_key=True)
    seconds = models.SmallIntegerField()
    period = models.BigIntegerField()
    name = KeyField(max_length=255, default="")
    queue = KeyField(max_length=255, default="")
    succeeded = models.BigIntegerField(default=0)
    failed = models.BigIntegerField(default=0)
    retried = models.BigIntegerField(default=0)
    revoked = models.BigIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["seconds", "period", "name", "queue"], name="taskq_statistic_once"),
        ]

    def __str__(self) -> str:
        return f"{self.name} in {self.queue} from {self.period}"


#: The columns that are counted, in the order of a row of ``store.statistics``.
ENDS = ("succeeded", "failed", "retried", "revoked")
WAITED = tuple(f"waited_{number}" for number in range(BUCKETS))
RAN = tuple(f"ran_{number}" for number in range(BUCKETS))
for _column in (*WAITED, *RAN):
    Statistic.add_to_class(_column, models.BigIntegerField(default=0))
