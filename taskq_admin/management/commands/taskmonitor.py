"""``manage.py taskmonitor``: queues, workers, running and failed tasks, live in the terminal."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError, no_translations
from django.db import Error

from taskq.log_escapes import escaped
from taskq.management import arguments
from taskq_admin.terminal.board import Board
from taskq_admin.terminal.snapshot import take
from taskq_admin.terminal.user import Actor, add_argument


class Command(BaseCommand):
    """Parses, calls, prints."""

    help = "Watch queues, workers, running and failed tasks in the terminal, by the rows: no events are needed."
    requires_system_checks = []
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options."""
        parser.add_argument("--once", action="store_true", help="print everything once, for pipes and scripts")
        parser.add_argument("--interval", type=arguments.seconds, default=2.0, help="seconds between two looks (2)")
        parser.add_argument("--limit", type=arguments.count, default=100, help="running and failed tasks (100)")
        add_argument(parser)

    @no_translations
    def handle(self, *args: Any, **options: Any) -> None:
        """Show or print; ``CommandError``, which is exit status 1, without a terminal or a database."""
        actor = Actor.of(options["username"])
        board = Board(actor=actor, limit=options["limit"], interval=options["interval"])
        if options["once"]:
            try:
                board.snapshot = take(board.limit)
            except Error as error:
                raise CommandError(escaped(f"The database does not answer: {error}")) from error
            self.stdout.write("\n".join(board.everything()))
            return
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise CommandError("The monitor needs a terminal: --once prints everything once.")
        from taskq_admin.terminal.screen import run

        run(board)
