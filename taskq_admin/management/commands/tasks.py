"""``manage.py tasks``: list, look at, retry and revoke tasks, and see which errors there are."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
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
from taskq_admin.queries import columns, errors, matching
from taskq_admin.queries.wanted import Wanted, without_payload
from taskq_admin.terminal import details
from taskq_admin.terminal.tables import table
from taskq_admin.terminal.user import Actor, add_argument

#: Tasks that are acted upon, and written down, at once.
_AT_ONCE = 500
_STATES = ("running", "waiting", "scheduled", "succeeded", "failed", "retrying", "revoked")
#: Options that say which tasks are meant, and the names of the parameters of the admin's list.
_FILTERS = {"state": "tab", "queue": "queue", "name": "name", "worker": "worker", "since": "since"}
_LIST = {"task_id": "ID", "state": "STATE", "name": "NAME", "queue": "QUEUE", "created_at": "SENT", "said": "ERROR"}
_COUNTS = {span.key: span.key for span in errors.SPANS}
_ERRORS = {"error": "ERROR", **_COUNTS, "last_seen": "LAST", "name": "NAME", "said": "MESSAGE"}


class Command(BaseCommand):
    """Parses, calls, prints."""

    help = "List tasks and errors, show a task, retry and revoke tasks: one, some, or all that match."
    requires_system_checks = []
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the five actions."""
        actions = parser.add_subparsers(dest="action", metavar="{list,show,retry,revoke,errors}", required=True)
        _add_filters(actions.add_parser("list", help="the newest tasks, all or those that match"), limit=20)
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
        for action in (retry, revoke):
            action.add_argument("ids", nargs="*", metavar="id", help="ids of tasks, instead of the options below")
            action.add_argument("--dry-run", action="store_true", help="only say which tasks it would be")
            add_argument(action)
            _add_filters(action, limit=None)
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
        rows, looked_at = columns.newest(_wanted(options), options["limit"])
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
        ids = self._chosen(options, "failed")
        if options["dry_run"]:
            self._only_say(ids, "retried")
        elif len(options["ids"]) == 1:
            retried = control.retry(options["ids"][0], **more)
            actor.note(_key_of(options), [retried.of])
            unknown = "" if retried.known else ", whose name this project does not know"
            text = f"{retried.of} runs again{f' as {retried.task_id}' if retried.new else ''}{unknown}."
            self._say_done(options, {"task_id": retried.task_id, "of": retried.of}, text)
        else:
            counts = control.Counts()
            for part in _parts(ids):
                _add(counts, found := control.retry_many(part, **more))
                actor.note(_key_of(options), found.ids, _described(options, found.done))
            self._say_counts(options, counts, "retried")

    def _revoke(self, options: dict[str, Any]) -> None:
        actor, ids = Actor.of(options["username"]), list(self._chosen(options, ""))
        if options["dry_run"]:
            self._only_say(iter(ids), "revoked")
            return
        if not ids:
            raise CommandError("No task matches.")
        key, counts = "terminate" if options["terminate"] else "revoke", Counter[str]()
        for part in _parts(ids):
            became = revoking.revoke(part, terminate=options["terminate"], signal=options["signal"])
            actor.note(key, became.touched, _described(options, len(became.touched)))
            counts.update(revoked=len(became.revoked), asked=len(became.asked), ended=len(became.ended))
        told = "told to end" if options["terminate"] else "told to stop: what runs already goes on to its end"
        words = {"revoked": "revoked", "ended": "had ended", "asked": told}
        self._say_done(options, dict(counts), ", ".join(f"{counts[k]} {words[k]}" for k in words if counts[k]) + ".")
        if counts["ended"] == len(ids):
            raise CommandError("No task was revoked: all had ended.")

    def _chosen(self, options: dict[str, Any], state: str) -> Iterator[str]:
        """Return the ids of the caller, or of all tasks that match, of ``state`` if the caller names none.

        Raises ``CommandError`` for neither or both.
        """
        given = any(options[name] for name in (*_FILTERS, "error", "search"))
        if options["ids"]:
            if given:
                raise CommandError("Name tasks by their ids, or by options that all of them match, not by both.")
            return iter(dict.fromkeys(options["ids"]))
        if not given:
            raise CommandError("Which tasks? Name them by their ids, or give options such as --state and --name.")
        ids = chain.from_iterable(matching.walk(_wanted(options | {"state": options["state"] or state})))
        return islice(ids, options["limit"])

    # -- printing

    def _say_counts(self, options: dict[str, Any], counts: control.Counts, what: str) -> None:
        refused = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.refused.items()))
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

    def _only_say(self, ids: Iterator[str], what: str) -> None:
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


def _described(options: dict[str, Any], count: int) -> str:
    """Return which tasks were meant, if they were not named by their ids."""
    if options["ids"]:
        return ""
    filters = {name: options[name] for name in (*_FILTERS, "error", "search") if options[name]}
    told = [f"{name}={without_payload(name, str(value))}" for name, value in filters.items()]
    return f"{count} tasks: {', '.join(told)}"


_TIMES = frozenset({"created_at", "last_seen"})


def _second(text: str | None) -> str:
    return (text or "")[:19].replace("T", " ")


def _said(row: dict[str, Any]) -> str:
    return ": ".join(filter(None, (row["exception"], row["message"]))) or row.get("progress") or ""


def _add_filters(parser: ArgumentParser, limit: int | None) -> None:
    add = parser.add_argument
    add("--state", choices=_STATES, help="of these only")
    add("--queue", help="of this queue")
    add("--name", help="of this name")
    add("--worker", help="that this worker runs or ran")
    add("--error", help="that failed with this in the class or the message of the exception")
    add("--since", help="sent since 30min, 24h or 7d ago, or since a time")
    add("--search", default="", help="as in the admin: an id, a part of a name, order_id=123")
    add("--limit", type=arguments.count, default=limit, help=f"how many at most ({limit or 'all'})")
    add("--json", action="store_true", help="print JSON")


def _wanted(options: dict[str, Any]) -> Wanted:
    parameters = {parameter: options[name] or "" for name, parameter in _FILTERS.items()}
    search = options["search"]
    if error := options["error"]:
        search = f'{search} error:"{error}"'
    wanted = Wanted.of(parameters | {"q": search})
    if wanted.problems:
        raise CommandError(escaped(" ".join(wanted.problems)))
    return wanted
