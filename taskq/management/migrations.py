"""Which migrations of taskq a database lacks. Called before a worker starts.

A worker keeps what it has loaded for as long as it runs, so the code that writes migrations is loaded only if need be.
"""

from __future__ import annotations

import pkgutil
from pathlib import Path

from django.apps import apps
from django.conf import settings
from django.core.checks.registry import registry
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.recorder import MigrationRecorder

_LABEL = "taskq"
#: Compares the commands migrate and makemigrations, and loads both.
_CHECK_OF_COMMANDS = "django.core.checks.commands"


def missing(connection: BaseDatabaseWrapper) -> list[str]:
    """Return the names of taskq's migrations that are still to be applied, in their order.

    Raises the database's errors.
    """
    if _LABEL not in settings.MIGRATION_MODULES and _files() <= _applied(connection):
        return []
    return _planned(connection)


def _files() -> set[str]:
    directory = Path(apps.get_app_config(_LABEL).path, "migrations")
    return {module.name for module in pkgutil.iter_modules([str(directory)]) if module.name[0] not in "_~"}


def _applied(connection: BaseDatabaseWrapper) -> set[str]:
    return {name for label, name in MigrationRecorder(connection).applied_migrations() if label == _LABEL}


def _planned(connection: BaseDatabaseWrapper) -> list[str]:
    """Return the same as ``missing``, by Django's own plan, which also knows what a squashed migration replaces."""
    # Loads the migrations of all apps, and the code that writes new ones.
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(connection)
    targets = [node for node in executor.loader.graph.leaf_nodes() if node[0] == _LABEL]
    return [each.name for each, _ in executor.migration_plan(targets) if each.app_label == _LABEL]


def forget_check_of_commands() -> None:
    """Have this process never run Django's check of the commands for migrations, which it does not call."""
    registry.registered_checks = {
        check for check in registry.registered_checks if check.__module__ != _CHECK_OF_COMMANDS
    }
