"""``manage.py tasks``: look at tasks and errors; retry, revoke, move, prioritize and delete tasks."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, no_translations
from django.db import Error as DatabaseError
from kombu.exceptions import KombuError

from taskq import control
from taskq.exceptions import CannotRetry, TaskqError
from taskq.log_escapes import escaped
from taskq.management import arguments
from taskq_admin.actions import revoking
from taskq_admin.parameters import parsed
from taskq_admin.queries import columns, errors
from taskq_admin.terminal import details
from taskq_admin.terminal.chosen import add_filters, chosen, described, wanted
from taskq_admin.terminal.tables import table
from taskq_admin.terminal.user import Actor, add_argument

#: Tasks that are acted upon, and written down, at once.
_AT_ONCE = 500
#: States of tasks that an action means if the caller names none.
_FAILED, _WAIT, _ENDED = ("failed",), ("waiting", "scheduled", "retrying"), ("succeeded", "failed", "revoked")
_LIST = {"task_id": "ID", "state": "STATE", "name": "NAME", "queue": "QUEUE", "created_at": "SENT", "said": "ERROR"}
_COUNTS = {span.key: span.key for span in errors.SPANS}
_ERRORS = {"error": "ERROR", **_COUNTS, "last_seen": "LAST", "name": "NAME", "said": "MESSAGE"}


class Command(BaseCommand):
    """Parses, calls, prints."""

    help = (
        "List tasks and errors, show, retry, revoke, move, prioritize and delete tasks: one, some, or all that match."
    )
    requires_system_checks = []
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the actions."""
        actions = parser.add_subparsers(
            dest="action", metavar="{list,show,retry,revoke,move,prioritize,delete,errors}", required=True
        )
        add_filters(actions.add_parser("list", help="the newest tasks, all or those that match"), limit=20)
        show = actions.add_parser("show", help="all that is known of one task")
        show.add_argument("id")
        retry = actions.add_parser("retry", help="run ended tasks again as they were sent")
        retry.add_argument("--new", action="store_true", help="as new tasks, linked to the old ones")
        retry.add_argument("--to-queue", help="in another queue")
        retry.add_argument("--priority", type=int, help="with another priority: 0 to 9, larger is sooner")
        retry.add_argument("--countdown", type=arguments.seconds, help="so many seconds from now")
        retry.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="NAME=VALUE",
            help="with another value of an argument, in JSON or as it is; can be given more than once",
        )
        revoke = actions.add_parser("revoke", help="have tasks not run; running ones go on")
        revoke.add_argument("--terminate", action="store_true", help="end running tasks too")
        revoke.add_argument("--signal", default="SIGTERM", help="the signal for --terminate (SIGTERM)")
        move = actions.add_parser("move", help="have waiting and scheduled tasks run from another queue")
        move.add_argument("--to-queue", required=True, help="from which one")
        prioritize = actions.add_parser("prioritize", help="give waiting and scheduled tasks another priority")
        prioritize.add_argument("--priority", type=int, required=True, help="0 to 9, larger is sooner")
        delete = actions.add_parser("delete", help="delete the rows of ended tasks, for good")
        delete.add_argument("-f", "--force", action="store_true", help="don't ask")
        for action in (retry, revoke, move, prioritize, delete):
            action.add_argument("ids", nargs="*", metavar="id", help="ids of tasks, instead of the options below")
            action.add_argument("--dry-run", action="store_true", help="only say which tasks it would be")
            add_argument(action)
            add_filters(action, limit=None)
        failures = actions.add_parser("errors", help="failures by task, exception and message, those seen last first")
        failures.add_argument("--limit", type=arguments.count, default=20, help="how many at most (20)")
        for action in (show, failures):
            action.add_argument("--json", action="store_true", help="print JSON")

    @no_translations
    def handle(self, *args: Any, **options: Any) -> None:
        """Do it; ``CommandError``, which is exit status 1, if nothing was found or done, or a task was refused."""
        try:
            getattr(self, f"_{options['action']}")(options)
        except DatabaseError as error:
            raise CommandError(escaped(f"The database does not answer: {error}")) from error
        except CannotRetry as error:
            raise CommandError(escaped(str(error))) from error
        except (TaskqError, KombuError, ValueError, TypeError) as error:
            raise CommandError(escaped(f"{error}")) from error

    # -- reading

    def _list(self, options: dict[str, Any]) -> None:
        rows, looked_at = columns.newest(wanted(options), options["limit"])
        if options["json"]:
            self._print_json(rows)
            return
        self._print_table(_LIST, rows, "No task matches.")
        if looked_at is not None:
            self.stderr.write(f"The newest {looked_at} tasks were looked at. There are older ones.")

    def _show(self, options: dict[str, Any]) -> None:
        found = details.of(options["id"])
        if found is None:
            raise CommandError(f"There is no task {escaped(options['id'])}, or its row was deleted.")
        if options["json"]:
            self._print_json(found)
        else:
            self.stdout.write("\n".join(details.lines(found)))

    def _errors(self, options: dict[str, Any]) -> None:
        rows = columns.found_errors(options["limit"])
        if options["json"]:
            self._print_json(rows)
        else:
            self._print_table(_ERRORS, rows, "No task has failed.")

    # -- acting

    def _retry(self, options: dict[str, Any]) -> None:
        actor = Actor.of(options["username"])
        more = {"new": options["new"], "by": actor.name, **_changes(options)}
        ids = chosen(options, _FAILED)
        if options["dry_run"]:
            self._only_say(ids, "retried")
        elif len(options["ids"]) == 1:
            retried = control.retry(options["ids"][0], **more)
            actor.note(_key_of(options), [retried.of])
            unknown = "" if retried.known else ", whose name this project does not know"
            text = f"{retried.of} runs again{f' as {retried.task_id}' if retried.new else ''}{unknown}."
            self._say_done(options, {"task_id": retried.task_id, "of": retried.of}, text)
        else:
            self._do(options, ids, "retried", _key_of(options), lambda part: control.retry_many(part, **more))

    def _revoke(self, options: dict[str, Any]) -> None:
        actor, ids = Actor.of(options["username"]), list(chosen(options, ("",)))
        if options["dry_run"]:
            self._only_say(iter(ids), "revoked")
            return
        if not ids:
            raise CommandError("No task matches.")
        key, counts = "terminate" if options["terminate"] else "revoke", Counter[str]()
        for part in _parts(ids):
            became = revoking.revoke(part, terminate=options["terminate"], signal=options["signal"])
            actor.note(key, became.touched, described(options, len(became.touched)))
            counts.update(revoked=len(became.revoked), asked=len(became.asked), ended=len(became.ended))
        told = "told to end" if options["terminate"] else "told to stop: what runs already goes on to its end"
        words = {"revoked": "revoked", "ended": "had ended", "asked": told}
        self._say_done(options, dict(counts), ", ".join(f"{counts[k]} {words[k]}" for k in words if counts[k]) + ".")
        if counts["ended"] == len(ids):
            raise CommandError("No task was revoked: all had ended.")

    def _move(self, options: dict[str, Any]) -> None:
        queue = options["to_queue"]
        self._do(options, chosen(options, _WAIT), "moved", "move", lambda part: control.move(part, queue))

    def _prioritize(self, options: dict[str, Any]) -> None:
        priority = options["priority"]
        ids = chosen(options, _WAIT)
        self._do(options, ids, "prioritized", "prioritize", lambda part: control.prioritize(part, priority))

    def _delete(self, options: dict[str, Any]) -> None:
        ids = list(chosen(options, _ENDED))
        if ids and not (options["force"] or options["dry_run"]):
            self._ask(f"{len(ids)} tasks will be deleted, with results, attempts and events. There is no way back.")
        self._do(options, ids, "deleted", "delete", control.delete_runs)

    def _do(
        self,
        options: dict[str, Any],
        ids: Iterable[str],
        what: str,
        key: str,
        act: Callable[[list[str]], control.Counts],
    ) -> None:
        """Act on tasks, a part at a time, and say what became of them."""
        actor, counts = Actor.of(options["username"]), control.Counts()
        if options["dry_run"]:
            self._only_say(ids, what)
            return
        for part in _parts(ids):
            # Before they are deleted: the log has their names.
            rows = actor.rows_of(part)
            _add(counts, found := act(part))
            actor.note(key, found.ids, described(options, found.done), rows)
        if not (counts.done or counts.refused):
            raise CommandError("No task matches.")
        self._say_counts(options, counts, what)

    def _ask(self, warning: str) -> None:
        # Not to standard output, which may be read by a program.
        self.stderr.write(f"{warning}\n(to skip this question use the -f option)\nAre you sure (yes/NO)?", ending=" ")
        self.stderr.flush()
        try:
            answer = input()
        except EOFError:
            answer = ""
        if answer.strip().lower() not in {"y", "yes"}:
            raise CommandError("Nothing was deleted.")

    # -- printing

    def _say_counts(self, options: dict[str, Any], counts: control.Counts, what: str) -> None:
        refused = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in sorted(counts.refused.items()))
        said = f"{counts.done} {what}." + (f" Not: {refused}." if refused else "")
        self._say_done(options, {"done": counts.done, "refused": counts.refused}, said)
        for text in counts.examples.values():
            self.stderr.write(escaped(text))
        if counts.refused and (options["ids"] or not counts.done):
            raise CommandError("Some tasks were refused.")

    def _say_done(self, options: dict[str, Any], data: dict[str, Any], text: str) -> None:
        if options["json"]:
            self._print_json(data)
        else:
            self.stdout.write(escaped(text))

    def _only_say(self, ids: Iterable[str], what: str) -> None:
        count = 0
        for task_id in ids:
            count += 1
            self.stdout.write(escaped(task_id))
        self.stderr.write(f"{count} would be {what}.")

    def _print_table(self, names: dict[str, str], rows: Sequence[dict[str, Any]], none: str) -> None:
        shown = [row | {"said": _said(row)} | {key: _second(row[key]) for key in _TIMES if key in row} for row in rows]
        self.stdout.write("\n".join(table(names, shown)) if rows else none)

    def _print_json(self, value: Any) -> None:
        self.stdout.write(json.dumps(value, indent=2))


def _parts(ids: Iterable[str]) -> Iterator[list[str]]:
    """Yield parts of ids. What was done to a part is written down before the next: a command may be ended any time."""
    left = iter(ids)
    while part := list(islice(left, _AT_ONCE)):
        yield part


def _add(counts: control.Counts, more: control.Counts) -> None:
    counts.done += more.done
    counts.ids += more.ids
    for reason, count in more.refused.items():
        counts.refused[reason] = counts.refused.get(reason, 0) + count
        counts.examples.setdefault(reason, more.examples[reason])


def _key_of(options: dict[str, Any]) -> str:
    """Return the key of the admin's action that is the same."""
    changed = any(value is not None for value in _changes(options).values())
    return "change" if changed else "rerun" if options["new"] else "retry"


def _changes(options: dict[str, Any]) -> dict[str, Any]:
    """Return what ``control.retry`` is to change."""
    found = {"queue": options["to_queue"], "priority": options["priority"], "countdown": options["countdown"]}
    pairs = [text.partition("=") for text in options["set"]]
    if wrong := [name for name, equals, _ in pairs if not (equals and name.isidentifier())]:
        raise CommandError(f"--set: NAME=VALUE is needed, not {escaped(wrong[0])}.")
    return found | ({"update_kwargs": {name: _value(text) for name, _, text in pairs}} if pairs else {})


def _value(text: str) -> Any:
    try:
        return parsed(text)
    except ValidationError:
        return text


_TIMES = frozenset({"created_at", "last_seen"})


def _second(text: str | None) -> str:
    return (text or "")[:19].replace("T", " ")


def _said(row: dict[str, Any]) -> str:
    return ": ".join(filter(None, (row["exception"], row["message"]))) or row.get("progress") or ""
