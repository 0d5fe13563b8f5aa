"""``manage.py taskpurge``: delete what waits in queues."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError
from django.db import Error

from taskq.control.purging import purge, purgeable
from taskq.exceptions import QueueNotFound
from taskq.management import arguments
from taskq.management.short import ShortCommand
from taskq.messages.routing import select


class Command(ShortCommand):
    """Parses, asks, calls, prints."""

    help = "Delete the messages that wait in queues. Their tasks are revoked. There is no way back."
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options."""
        add = parser.add_argument
        add("-f", "--force", action="store_true", help="don't ask")
        add("-Q", "--queues", type=arguments.names, default=[], help="queues to purge, by default all declared ones")
        add("-X", "--exclude-queues", type=arguments.names, default=[], help="queues to leave alone")

    def handle(self, *args: Any, **options: Any) -> None:
        """Ask, and purge; ``CommandError``, which is exit status 1, if the answer is no."""
        try:
            names = purgeable(select(options["queues"], options["exclude_queues"]).values())
            if not options["force"]:
                self._ask(names)
            count = purge(names)
        except (QueueNotFound, ValueError) as error:
            raise CommandError(str(error)) from error
        except Error as error:
            raise CommandError(f"The database does not answer: {error}") from error
        of_queues = f"{len(names)} known task {_plural('queue', len(names))}"
        if count:
            self.stdout.write(f"Purged {count} {_plural('message', count)} from {of_queues}.")
        else:
            self.stdout.write(f"No messages purged from {len(names)} {_plural('queue', len(names))}.")

    def _ask(self, names: list[str]) -> None:
        self.stdout.write(
            f"WARNING: This will remove all tasks from {_plural('queue', len(names))}: {', '.join(names)}.\n"
            "         There is no undo for this operation!\n\n(to skip this prompt use the -f option)\n"
        )
        try:
            answer = input("Are you sure you want to delete all tasks (yes/NO)? ")
        except EOFError:
            answer = ""
        if answer.strip().lower() not in {"y", "yes"}:
            raise CommandError("Nothing was purged.")


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"
