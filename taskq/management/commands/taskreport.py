"""``manage.py taskreport``: versions and settings, for a report of a bug."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError
from django.db import Error, connections

from taskq.control.configuration import report
from taskq.management.short import ShortCommand


class Command(ShortCommand):
    """Calls, prints."""

    help = "Print versions and settings, with secrets masked, for a report of a bug."
    # It is wanted where something is wrong.
    requires_system_checks = []
    requires_migrations_checks = False

    def handle(self, *args: Any, **options: Any) -> None:
        """Print; ``CommandError``, which is exit status 1, if a setting of taskq has a wrong value."""
        try:
            self.stdout.write(report())
        except (ImproperlyConfigured, ValueError) as error:
            raise CommandError(str(error)) from error
        for name in ("SETTINGS_MODULE", "USE_TZ", "TIME_ZONE", "DEBUG"):
            self.stdout.write(f"{name}: {getattr(django_settings, name, None)!r}")
        for line in _databases():
            self.stdout.write(line)


def _databases() -> Iterator[str]:
    """Yield a line for each database: no host, user or password."""
    for alias in connections:
        connection = connections[alias]
        try:
            version = ".".join(str(part) for part in connection.get_database_version())
        except (Error, ImproperlyConfigured) as error:
            # Drivers put host, user and more into their texts.
            version = f"does not answer ({type(error).__name__})"
        yield f"database '{alias}': {connection.vendor} {version}"
