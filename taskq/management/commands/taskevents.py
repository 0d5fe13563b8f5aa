"""``manage.py taskevents``: watch what happens in the cluster."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.module_loading import import_string

from taskq.conf import masked_url, settings
from taskq.events import Receiver
from taskq.events.camera import shoot
from taskq.events.dump import Dump
from taskq.events.stamps import Event
from taskq.management import arguments

#: Seconds after which a lost connection is opened again.
_AGAIN = 1.0


class Command(BaseCommand):
    """Parses, calls, prints."""

    help = "Watch workers and tasks in the terminal, print their events, or take snapshots."
    requires_system_checks = []
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options."""
        parser.add_argument("-d", "--dump", action="store_true", help="print a line for each event")
        parser.add_argument("-c", "--camera", help="class whose on_shutter(state) is called regularly, by its path")
        parser.add_argument(
            "-F", "--frequency", "--freq", type=arguments.seconds, default=1.0, help="seconds between snapshots (1)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Watch until Ctrl-C."""
        with suppress(KeyboardInterrupt):
            if options["camera"]:
                self._for_ever(partial(shoot, self._camera(options["camera"]), options["frequency"]))
            elif options["dump"]:
                self._say("-> taskevents: starting capture...")
                self._for_ever(self._dump)
            else:
                self._show()

    def _camera(self, path: str) -> Any:
        try:
            return import_string(path)()
        except ImportError as error:
            raise CommandError(f"--camera: {error}") from error

    def _show(self) -> None:
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise CommandError("The monitor needs a terminal: --dump prints a line for each event.")
        from taskq.events.screen import run

        run()

    def _for_ever(self, capture: Callable[[], object]) -> None:
        while True:
            try:
                capture()
            except Exception as error:
                if not _is_lost(error):
                    raise
                self.stderr.write(f"{masked_url(settings.CONTROL_URL)} can't be used: {error!r}. Trying again.")
                time.sleep(_AGAIN)

    def _dump(self) -> None:
        """Print a line for each event, those of one wait together: a write of its own costs as much as the event."""
        events: list[Event] = []
        dump = Dump()
        try:
            for _ in Receiver({"*": events.append}).itercapture():
                self._say_all(dump, events)
        finally:
            self._say_all(dump, events)

    def _say_all(self, dump: Dump, events: list[Event]) -> None:
        if events:
            self._say("\n".join(dump.lines(events)))
            events.clear()

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()


def _is_lost(error: Exception) -> bool:
    """Tell whether an error may pass with a new connection, and is none of a camera."""
    from taskq.worker.remote.connection import connect

    connection = connect()
    return isinstance(error, (*connection.connection_errors, *connection.channel_errors, OSError))
