"""Follow-ups in parts: what is too large for one transaction waits in Group rows, a part in each.

A message of 15 MiB names 140,000 tasks. The transaction that settles a task sends or fails the first part of its
follow-ups at most. It writes a *pending* row, the body of a Group row of size 0, which says where the next part is.
``store.parts`` works one part off in each transaction, and moves the pending row on.

A part is another Group row: the rest of a chain (``rests``), dependents that fail (``dependents_in_parts``), or
messages that are sent (``sent_in_parts``). If the database refuses a part of messages, each of its messages becomes a
part (``sent_singly``), and the task of a message that can't be written fails. A part whose text was altered ends the
work: the parts behind it are neither sent nor failed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from kombu.utils.json import loads

from taskq import ids
from taskq.handover import as_lists, of_lists
from taskq.messages.exception_data import cut_for_many
from taskq.messages.serializers import dumps_json
from taskq.records import Envelope, FollowUps, NewGroup, Unreachable

from . import rests
from .nodes import row_key

T = TypeVar("T")
#: Adds the row of a part: its key, and its text.
Keep = Callable[[str, str], None]

#: The most dependents, messages and characters of messages that one settlement brings along.
MOST_DEPENDENTS, MOST_MESSAGES, MOST_CHARACTERS = 500, 1_000, 4_000_000
#: The most dependents, nodes and messages of a part.
_DEPENDENTS, _NODES, _MESSAGES = 100, 500, 100
#: The characters that one transaction writes, but for a single text of more: it takes some milliseconds, also where it
#: keeps all other writers waiting.
AT_ONCE = 256_000
_PENDING, _VALUES, _PART = "pending:", "values:", "part:"
#: The range of the ids of pending rows with parts, and of those with values to delete.
PENDING_RANGE, VALUES_RANGE = (_PENDING, "pending;"), (_VALUES, "values;")


@dataclass(frozen=True, slots=True)
class Cause:
    """Why dependents fail: the task or group ``task_id`` of a workflow has ended with ``error``, an exception as data.

    ``may_run_again`` says that it failed itself, and so may be retried.
    """

    error: str
    root_id: str
    task_id: str
    may_run_again: bool = False


@dataclass(frozen=True, slots=True)
class Pending:
    """Work on the parts from the row ``key`` on. The fields are those of the pending row.

    If the parts have tasks that fail, the other fields are those of the ``cause``. If they have messages to send,
    ``error`` is ``None``. With ``after`` there are no parts: of the members of the group ``key`` behind this position,
    the values that were kept for its body only are deleted.
    """

    key: str
    error: str | None = None
    root_id: str = ""
    task_id: str = ""
    may_run_again: bool = False
    after: int | None = None

    @classmethod
    def failing(cls, key: str, cause: Cause) -> Pending:
        """Return the work of failing the tasks in the parts from ``key`` on."""
        return cls(key, cut_for_many(cause.error), cause.root_id, cause.task_id, cause.may_run_again)

    @property
    def cause(self) -> Cause | None:
        """Why the tasks in the parts fail, ``None`` if the parts have messages to send."""
        return None if self.error is None else Cause(self.error, self.root_id, self.task_id, self.may_run_again)

    @property
    def row(self) -> NewGroup:
        """The pending row.

        Workers of an older version would delete a row with a field that they do not know.
        """
        named = {name: value for name, value in asdict(self).items() if name != "after" or value is not None}
        key = row_key(_PENDING if self.after is None else _VALUES, self.key)
        return NewGroup(key, 0, dumps_json(named), self.root_id)

    @classmethod
    def read(cls, text: str) -> Pending:
        """Return the pending work of a row's body. A newer version may have written more fields."""
        return cls(**{name: value for name, value in loads(text).items() if name in cls.__slots__})


def is_pending(key: str) -> bool:
    """Tell whether a row is a pending row."""
    return key.startswith((_PENDING, _VALUES))


def is_part(key: str) -> bool:
    """Tell whether a row is a part that was written here, and not the rest of a chain."""
    return key.startswith(_PART)


# -- dependents that fail


def dependents_in_parts(found: Sequence[Unreachable], root_id: str) -> tuple[Sequence[Unreachable], list[NewGroup]]:
    """Return the first part of many dependents, with a reference to the others at its end, and the rows of these.

    The rows are in the form of the rest of a chain.
    """
    if len(found) <= MOST_DEPENDENTS:
        return found, []
    name, groups = ids.new_id(), list[NewGroup]()
    first, *others = [found[begin : begin + _DEPENDENTS] for begin in range(0, len(found), _DEPENDENTS)]
    after: list[Any] = []
    for number in range(len(others), 0, -1):
        key = row_key(_PART, f"{name}:{number}")
        text = dumps_json([*after, *map(rests.named_task, reversed(others[number - 1]))])
        groups.append(NewGroup(key, 0, text, root_id))
        after = [rests.reference(key)]
    return [*first, Unreachable(after[0]["options"]["task_id"], rests.NAME)], groups


# -- messages that are sent


def is_large(found: FollowUps) -> bool:
    """Tell whether follow-ups are to be sent in parts."""
    count, size = len(found.envelopes), sum(len(e.body) for e in found.envelopes)
    return max(count, len(found.nodes)) > MOST_MESSAGES or (count > 1 and size > MOST_CHARACTERS)


def sent_in_parts(found: FollowUps, name: str, root_id: str, keep: Keep) -> Pending:
    """Give the messages and nodes of large follow-ups to ``keep``, in parts; return the work that is pending.

    The keys of the parts begin with ``name``, which no other follow-ups have.
    """
    # Nodes first: a task that was sent has its node.
    parts = [FollowUps(nodes=part) for part in _in_parts(found.nodes, _NODES, lambda _: 0)]
    parts += [FollowUps(part) for part in _in_parts(found.envelopes, _MESSAGES, _size_of)]
    key = ""
    for number in range(len(parts), 0, -1):
        text = dumps_json({"next": key, "follow_ups": as_lists(parts[number - 1])})
        key = row_key(_PART, f"{name}:{number}")
        keep(key, text)
    return Pending(key, root_id=root_id)


def sent_singly(found: FollowUps, pending: Pending, then: str) -> tuple[list[NewGroup], str]:
    """Return a part for each message of the next part of ``pending``, and the key of the first one.

    The part ``then`` comes after the last one.
    """
    rows: list[NewGroup] = []
    for number in range(len(found.envelopes), 0, -1):
        text = dumps_json({"next": then, "follow_ups": as_lists(FollowUps(found.envelopes[number - 1 : number]))})
        then = row_key(_PART, f"{pending.key}:{number}")
        rows.append(NewGroup(then, 0, text, pending.root_id))
    return rows, then


def read_part(text: str) -> tuple[FollowUps, str]:
    """Return the follow-ups in a part, and the key of the next part, empty after the last one."""
    part = loads(text)
    return of_lists(part["follow_ups"]), part["next"]


def _size_of(e: Envelope) -> int:
    return len(e.body) + len(e.arguments or "")


def _in_parts(found: Sequence[T], most: int, size_of: Callable[[T], int]) -> Iterator[Sequence[T]]:
    """Yield ``found`` in parts of ``most``, or fewer if they are large."""
    begin, size = 0, 0
    for place, each in enumerate(found):
        if place > begin and (place - begin == most or size + size_of(each) > AT_ONCE):
            yield found[begin:place]
            begin, size = place, 0
        size += size_of(each)
    if begin < len(found):
        yield found[begin:]
