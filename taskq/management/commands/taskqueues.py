"""``manage.py taskqueues``: list the paused queues, pause one, resume one."""

from __future__ import annotations

from argparse import ArgumentParser
from getpass import getuser
from typing import Any

from django.core.management.base import CommandError
from django.db import Error

from taskq import control
from taskq.log_escapes import escaped
from taskq.management import arguments
from taskq.management.short import ShortCommand
from taskq.models import QueuePause


class Command(ShortCommand):
    """Parses, calls, prints."""

    help = "List the paused queues, pause a queue or resume it. Workers obey within a second; running tasks go on."
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the three actions."""
        actions = parser.add_subparsers(dest="action", metavar="{list,pause,resume}")
        actions.add_parser("list", help="list the paused queues, which is the default")
        pause = actions.add_parser("pause", help="have no worker start tasks of a queue")
        pause.add_argument("queue")
        pause.add_argument("--seconds", type=arguments.seconds, help="for how long, by default until it is resumed")
        pause.add_argument("--reason", default="", help="why, for those who ask")
        resume = actions.add_parser("resume", help="have workers start tasks of a queue again")
        resume.add_argument("queue")

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it; ``CommandError``, which is exit status 1, if that can't be done or the queue was not paused."""
        action, queue = options["action"], options.get("queue", "")
        try:
            if action == "pause":
                row = control.pause_queue(queue, seconds=options["seconds"], reason=options["reason"], by=_user())
                self.stdout.write(_line(row))
            elif action == "resume":
                if not control.resume_queue(queue):
                    raise CommandError(f"{escaped(queue)} was not paused.")
                self.stdout.write(f"{escaped(queue)} is resumed.")
            else:
                self.stdout.write("\n".join(map(_line, control.paused_queues())) or "No queue is paused.")
        except ValueError as error:
            raise CommandError(str(error)) from error
        except Error as error:
            raise CommandError(f"The database does not answer: {error}") from error


def _user() -> str:
    try:
        return getuser()
    except (KeyError, OSError):  # a user without a name
        return ""


def _line(row: QueuePause) -> str:
    by = f" by {row.by}" if row.by else ""
    until = f" until {row.until:%Y-%m-%d %H:%M:%S} UTC" if row.until else ""
    reason = f": {row.reason}" if row.reason else ""
    return escaped(f"{row.queue} is paused since {row.since:%Y-%m-%d %H:%M:%S} UTC{by}{until}{reason}")
