"""``RateLimit``: how often a task may start in all workers together."""

from __future__ import annotations

from django.db import models

from .fields import KeyField


class RateLimit(models.Model):
    """The rate limit of one task with ``rate_limit_scope="cluster"``.

    ``rate`` is in starts per second: 0 is no limit, null the limit of the definition. ``free_at`` is the Unix time by
    the database's clock when the next start is free.
    """

    name = KeyField(max_length=255, primary_key=True)
    rate = models.FloatField(null=True)
    free_at = models.FloatField(default=0.0)

    def __str__(self) -> str:
        return self.name
