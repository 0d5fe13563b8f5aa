"""Sealed workflows: with ``TASKQ_SIGNING`` the rows of groups and nodes have seals, and altered ones count as deleted.

The seal of ``Group.body`` is in front of it, and covers the group's ids and its size: the body gets the values of that
many members with sealed nodes, or is not sent. The seal of a node is behind the word in ``Node.kind``, and covers where
the task stands in its workflow. ``Group.remaining`` and ``failed``, and ``Node.ignored``, ``revoked`` and ``state`` are
not sealed: they change while a workflow runs, and can only keep it from going on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from operator import attrgetter
from typing import Any, NamedTuple

from django.db.models import QuerySet

from taskq.conf import settings
from taskq.exceptions import SignatureMismatch
from taskq.messages.signing import open_text, open_word, seal_text, seal_word
from taskq.models import Node
from taskq.records import NewNode

from . import log_lines

_BODY = "group.body"
_NODE = "node"


class Place(NamedTuple):
    """The facts that the seal of a node covers. The fields are those of ``NewNode``, and columns of ``Node``."""

    root_id: str
    task_id: str
    name: str
    kind: str
    group_id: str
    position: int
    waits_for: str


_FIELDS = attrgetter(*Place._fields)


def seal_body(body: str, group_id: str, size: int, root_id: str, parent_id: str) -> str:
    """Return the body of a group as its row keeps it, sealed while ``TASKQ_SIGNING`` is on."""
    return seal_text(_BODY, body, group_id, str(size), root_id, parent_id)


def open_body(stored: str, group_id: str, size: int, root_id: str, parent_id: str) -> str:
    """Return the body that was sealed with the same columns. Raises ``SignatureMismatch``."""
    return open_text(_BODY, stored, group_id, str(size), root_id, parent_id)


def seal_nodes(nodes: Iterable[NewNode]) -> list[tuple[Any, ...]]:
    """Return the fields of ``Place`` of nodes as their rows keep them, sealed while ``TASKQ_SIGNING`` is on."""
    found = list(map(_FIELDS, nodes))
    return [seal_place(Place(*row)) for row in found] if settings.SIGNING else found


def seal_place(place: Place) -> Place:
    """Return the place of one node as its row keeps it."""
    return place._replace(kind=seal_word(_NODE, place.kind, *_facts(place)))


def read_places(rows: QuerySet[Node]) -> list[Place]:
    """Return the places of nodes. While ``TASKQ_SIGNING`` is on, nodes without a valid seal are left out and logged."""
    return list(_opened(rows.values_list(*Place._fields)))


def iterate_places(rows: QuerySet[Node]) -> Iterator[Place]:
    """Yield what ``read_places`` returns, with few rows in memory at a time.

    On MariaDB the driver fetches the fields of all rows first.
    """
    return _opened(rows.values_list(*Place._fields).iterator())


def _opened(rows: Iterable[tuple[Any, ...]]) -> Iterator[Place]:
    for row in rows:
        place = Place(*row)
        try:
            yield place._replace(kind=open_word(_NODE, place.kind, *_facts(place)))
        except SignatureMismatch as error:
            log_lines.stored_text_altered(error)


def _facts(place: Place) -> list[str]:
    """Return what is sealed besides the kind, the task's id first: an error names the first."""
    return [place.task_id, place.root_id, place.name, place.group_id, str(place.position), place.waits_for]
