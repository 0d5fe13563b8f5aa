"""``manage.py taskresult``: print the value of a task, by its id."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError
from django.db import Error
from kombu.exceptions import KombuError

from taskq import AsyncResult
from taskq.exceptions import TaskqError, TimeoutError
from taskq.log_escapes import escaped
from taskq.management import arguments
from taskq.management.short import ShortCommand


class Command(ShortCommand):
    """Parses, calls, prints."""

    help = "Print the value of a task, by its id. Waits until the task has ended."
    requires_system_checks = []
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the id and the options. ``--traceback`` is an option of every command already."""
        add = parser.add_argument
        add("id", help="id of the task; with --traceback its traceback is printed instead, without waiting")
        add("-t", "--task", help="name that the task has to have")
        add("--timeout", type=arguments.seconds, help="seconds to wait; by default as long as it takes")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print; ``CommandError``, which is exit status 1, if there is no value."""
        result: AsyncResult[Any] = AsyncResult(options["id"])
        try:
            self._check_name(result, options["task"])
            text = self._traceback(result) if options["traceback"] else self._value(result, options["timeout"])
        except Error as error:
            raise CommandError(f"The database does not answer: {error}") from error
        except (TaskqError, KombuError) as error:
            raise CommandError(f"The value of {result.id} can't be read: {error}") from error
        # Control characters of a value would act on the terminal.
        self.stdout.write(escaped(text, "\n\t"))

    def _check_name(self, result: AsyncResult[Any], name: str | None) -> None:
        if name and result.name not in (None, name):
            raise CommandError(f"{result.id} is the id of {result.name}, not of {name}.")

    def _traceback(self, result: AsyncResult[Any]) -> str:
        if not (traceback := result.traceback):
            raise CommandError(f"There is no traceback: the state of {result.id} is {result.state}.")
        return traceback

    def _value(self, result: AsyncResult[Any], timeout: float | None) -> str:
        if not result.ready():
            known = "" if result.exists() else ", and has no row"
            self.stderr.write(f"Waiting: {result.id} is {result.state}{known}.")
        try:
            value = result.get(timeout, propagate=False)
        except TimeoutError:
            raise CommandError(f"{result.id} has not ended after {timeout:g} s: it is {result.state}.") from None
        if not result.successful():
            raise CommandError(escaped(f"{result.state}: {type(value).__name__}: {value}", "\n\t"))
        return str(value)
