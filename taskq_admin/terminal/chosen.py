"""Which tasks a command means: the options that name them, as the parameters of the admin's list, and the ids.

Used by ``manage.py tasks``. It reads rows, by the queries of the list, and changes nothing.
"""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any

from django.core.management.base import CommandError

from taskq.log_escapes import escaped
from taskq.management import arguments
from taskq_admin.queries import matching
from taskq_admin.queries.wanted import Wanted, without_payload

_STATES = ("running", "waiting", "scheduled", "succeeded", "failed", "retrying", "revoked")
#: Options that say which tasks are meant, and the names of the parameters of the admin's list.
_FILTERS = {"state": "tab", "queue": "queue", "name": "name", "worker": "worker", "since": "since"}
_GIVEN = (*_FILTERS, "error", "search")


def add_filters(parser: ArgumentParser, limit: int | None) -> None:
    """Add the options that say which tasks are meant."""
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


def wanted(options: dict[str, Any]) -> Wanted:
    """Return what the options ask for. Raises ``CommandError`` for what can't be read."""
    parameters = {parameter: options[name] or "" for name, parameter in _FILTERS.items()}
    search = options["search"]
    if error := options["error"]:
        search = f'{search} error:"{error}"'
    found = Wanted.of(parameters | {"q": search})
    if found.problems:
        raise CommandError(escaped(" ".join(found.problems)))
    return found


def chosen(options: dict[str, Any], states: Sequence[str]) -> Iterator[str]:
    """Return the ids of the caller, or of all tasks that match, in one of ``states`` if the caller names none.

    Raises ``CommandError`` for neither or both.
    """
    given = any(options[name] for name in _GIVEN)
    if options["ids"]:
        if given:
            raise CommandError("Name tasks by their ids, or by options that all of them match, not by both.")
        return iter(dict.fromkeys(options["ids"]))
    if not given:
        raise CommandError("Which tasks? Name them by their ids, or give options such as --state and --name.")
    each = [wanted(options | {"state": state}) for state in ([options["state"]] if options["state"] else states)]
    parts = chain.from_iterable(map(matching.walk, each))
    return islice(chain.from_iterable(parts), options["limit"])


def described(options: dict[str, Any], count: int) -> str:
    """Return which tasks were meant, for the log, if they were not named by their ids."""
    if options["ids"]:
        return ""
    filters = {name: options[name] for name in _GIVEN if options[name]}
    told = [f"{name}={without_payload(name, str(value))}" for name, value in filters.items()]
    return f"{count} tasks: {', '.join(told)}"
