"""Who sits at the terminal, and the record of what they do: in Django's admin log, or in a log of its own.

The admin log needs a user of the site: ``--as USERNAME`` names one. Without it, the lines go to the log ``taskq.audit``
with the name of the operating system's user. Neither is a check: who has a shell of the project may do everything.
"""

from __future__ import annotations

import logging
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass
from getpass import getuser
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import CommandError
from django.db.models import Model

from taskq.conf import settings
from taskq.log_escapes import escaped, get_logger
from taskq.models import Queue, TaskRun
from taskq_admin.actions import log
from taskq_admin.actions.base import Who, get

#: Entries at once at most, of tasks that were named by their ids; of more, one entry says how many.
MOST = 500
audit_log: logging.Logger = get_logger("taskq.audit")


def add_argument(parser: ArgumentParser) -> None:
    """Add ``--as``."""
    parser.add_argument("--as", dest="username", metavar="USERNAME", help="whose action the admin's log is to call it")


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: ``name`` is what rows keep, ``user`` the user of the site, if one was named."""

    name: str
    user: Any = None

    @classmethod
    def of(cls, username: str | None) -> Actor:
        """Return who ``--as`` names, else the user of this machine. Raises ``CommandError`` for an unknown user."""
        if username is None:
            return cls(_of_this_machine())
        users = get_user_model()
        try:
            user = users._default_manager.get_by_natural_key(username)
        except (users.DoesNotExist, ValueError):
            raise CommandError(f"--as: there is no user {escaped(username)}.") from None
        return cls(str(user.get_username()), user)

    def rows_of(self, task_ids: Sequence[str]) -> list[TaskRun]:
        """Return the rows of tasks for their entries: for what deletes them, which ``note`` comes after."""
        if self.user is None or len(task_ids) > MOST:
            return []
        found = TaskRun.objects.using(settings.DATABASE).filter(task_id__in=task_ids)
        return list(found.only("pk", "task_id", "name"))

    def note(self, key: str, task_ids: Sequence[str], text: str = "", rows: Sequence[TaskRun] | None = None) -> None:
        """Write down what was done to tasks; ``text`` says which, if nobody named them one by one.

        ``rows`` are theirs and perhaps others', if they were read before.
        """
        if not task_ids:
            return
        if self.user is None or text or len(task_ids) > MOST:
            self._note("taskrun", key, text or _listed(task_ids), [])
            return
        touched = set(task_ids)
        rows = [row for row in (self.rows_of(task_ids) if rows is None else rows) if row.task_id in touched]
        if rows:
            self._note("taskrun", key, "", rows)
        known = {row.task_id for row in rows}
        # Their rows were deleted, or are not written yet.
        if without := [task_id for task_id in task_ids if task_id not in known]:
            self._note("taskrun", key, _listed(without), [])

    def note_queue(self, key: str, name: str) -> None:
        """Write down what was done to a queue."""
        row = Queue.objects.using(settings.DATABASE).filter(name=name).first()
        self._note("queue", key, name, [row or Queue(name=name)])

    def _note(self, of: str, key: str, text: str, rows: Sequence[Model]) -> None:
        action = get(of, key)
        assert action is not None, key
        if self.user is None:
            audit_log.info("%s has done %s of %s: %s", self.name or "-", key, of, escaped(text))
        elif rows:
            log.write(action, rows, Who(self.user))
        else:
            log.write_many(action, text, Who(self.user))


def _listed(task_ids: Sequence[str]) -> str:
    """Return the ids, their number first if there are more than one: the end of a long text is cut."""
    named = ", ".join(task_ids[:10])
    return named if len(task_ids) == 1 else f"{len(task_ids)} tasks: {named}{', …' if len(task_ids) > 10 else ''}"


def _of_this_machine() -> str:
    """Return the name of the user of this machine, empty if there is none."""
    try:
        return getuser()
    except (KeyError, OSError):
        return ""
