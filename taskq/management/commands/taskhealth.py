"""``manage.py taskhealth``: the exit status tells whether a worker lives, for a container's probe."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError
from django.db import Error

from taskq.management.short import ShortCommand
from taskq.worker.health import look
from taskq.worker.process.nodenames import node_name


class Command(ShortCommand):
    """Parses, calls, prints."""

    help = "Exit with 0 if a worker has renewed its lease in time, else with 1."
    # A probe runs often, and checks the worker, not the project.
    requires_system_checks = []
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options."""
        which = parser.add_mutually_exclusive_group()
        which.add_argument("-n", "--hostname", help="name of the node, in the forms of taskworker -n")
        which.add_argument("--all", action="store_true", help="every worker, on any host")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print a line for each worker; ``CommandError``, which is exit status 1, if one is not alive."""
        try:
            name = None if options["all"] else node_name(options["hostname"])
            workers = look(name)
        except ValueError as error:
            raise CommandError(str(error)) from error
        except Error as error:
            raise CommandError(f"The database does not answer: {error}") from error
        if not workers:
            raise CommandError("There are no workers." if name is None else f"There is no worker {name}.")
        for worker in workers:
            if worker.alive:
                self.stdout.write(str(worker))
        if unwell := [str(worker) for worker in workers if not worker.alive]:
            raise CommandError("\n".join(unwell))
