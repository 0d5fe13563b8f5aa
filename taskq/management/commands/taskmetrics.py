"""``manage.py taskmetrics``: the figures of the cluster, for Prometheus."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError
from django.db import Error

from taskq.management.short import ShortCommand
from taskq.metrics.cluster import families
from taskq.metrics.exposition import render


class Command(ShortCommand):
    """Calls, prints."""

    help = "Print queues, tasks and workers in Prometheus' text format, as the rows have them."
    # It may run every few seconds, and looks at the rows, not at the project.
    requires_system_checks = []
    requires_migrations_checks = False

    def handle(self, *args: Any, **options: Any) -> None:
        """Print; ``CommandError``, which is exit status 1, if the database does not answer."""
        try:
            text = render(families()).decode()
        except Error as error:
            raise CommandError(f"The database does not answer: {error}") from error
        self.stdout.write(text, ending="")
