"""``manage.py taskcall``: send a task by its name, and print its id."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError
from django.db import Error
from kombu.exceptions import KombuError

from taskq import send_task
from taskq.calls.registry import tasks
from taskq.exceptions import TaskqError
from taskq.management import arguments
from taskq.management.short import ShortCommand

#: The options of ``send_task`` that the command line can give.
_OPTIONS = ("eta", "countdown", "expires", "serializer", "queue", "exchange", "routing_key", "priority")


class Command(ShortCommand):
    """Parses, calls, prints."""

    help = "Send a task by its name, and print its id."
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the name and the options; those that are not given follow the task's own and the routes."""
        add = parser.add_argument
        add("name", help="name of the task, as in shop.tasks.add; it need not be registered here")
        add("-a", "--args", dest="positional", type=arguments.json_list, help="positional arguments, a list in JSON")
        add("-k", "--kwargs", dest="named", type=arguments.json_object, help="keyword arguments, an object in JSON")
        add("--eta", help="when to run, in ISO 8601; without an offset in TASKQ_TIMEZONE")
        add("--countdown", type=float, help="seconds from now until it is to run")
        add("--expires", type=arguments.seconds_or_time, help="seconds from now, or a time as for --eta")
        add("--serializer", help="kombu serializer of the arguments")
        add("--queue", help="queue to send it to")
        add("--exchange", help="exchange to send it to")
        add("--routing-key", help="routing key of the message")
        add("--priority", type=int, help="0 to 9; larger is sooner")

    def handle(self, *args: Any, **options: Any) -> None:
        """Send the task; ``CommandError``, which is exit status 1, if it can't be sent."""
        name = options["name"]
        if name not in tasks:
            self.stderr.write(f"There is no task {name} here: only a worker that knows it can run it.")
        given: dict[str, Any] = {key: options[key] for key in _OPTIONS if options[key] is not None}
        try:
            result = send_task(name, options["positional"], options["named"], **given)
        except (TypeError, ValueError, TaskqError, KombuError) as error:
            raise CommandError(f"{name} can't be sent: {error}") from error
        except Error as error:
            raise CommandError(f"The database does not answer: {error}") from error
        self.stdout.write(result.id)
