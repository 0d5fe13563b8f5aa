"""``manage.py taskevents``: watch what happens in the cluster."""

from __future__ import annotations

import time
from argparse import ArgumentParser
from contextlib import suppress
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from taskq.conf import masked_url, settings
from taskq.events import Receiver
from taskq.events.dump import Dump

#: Seconds after which a lost connection is opened again.
_AGAIN = 1.0


class Command(BaseCommand):
    """Parses, calls, prints."""

    help = "Show the events of workers and tasks, a line for each."
    requires_system_checks = []
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options."""
        parser.add_argument("-d", "--dump", action="store_true", help="print a line for each event")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print events until Ctrl-C."""
        if not options["dump"]:
            raise CommandError("taskevents prints a line for each event with --dump.")
        with suppress(KeyboardInterrupt):
            self._dump()

    def _dump(self) -> None:
        self._say("-> taskevents: starting capture...")
        receiver = Receiver({"*": Dump(self._say).event})
        while True:
            try:
                receiver.capture()
            except Exception as error:
                self.stderr.write(f"{masked_url(settings.CONTROL_URL)} can't be used: {error!r}. Trying again.")
                time.sleep(_AGAIN)

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()
