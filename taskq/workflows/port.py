"""The port of ``advance`` to groups, nodes and runs: ``WorkflowStore``, and the plain objects that it returns.

``store.workflow_rows`` keeps groups, nodes and runs in the database, ``workflows.memory`` in dictionaries.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from taskq.messages.protocol import RawMessage
from taskq.records import Envelope, NewGroup, NewNode, Settlement, Unreachable


class GroupCount(NamedTuple):
    """The row of a group: how many members have not ended, and whether a member has failed."""

    group_id: str
    remaining: int
    failed: bool


class Body(NamedTuple):
    """The body of a chord, or the rest of a chain, as its group keeps it. ``body`` is empty if its text was altered.

    The text of a ``large`` body was not read. ``size`` is the number of members, 0 in a store that has no large bodies.
    """

    group_id: str
    body: str
    root_id: str
    parent_id: str
    size: int = 0
    large: bool = False


class Member(NamedTuple):
    """A member of a group, with its run. ``ignored``: the run is kept only until the body is sent."""

    task_id: str
    state: str | None
    result: str | None
    content_type: str | None
    ignored: bool


class Dependents(NamedTuple):
    """The dependents of a task by its node: the group that counts it, empty for none, and the unreachable tasks."""

    group_id: str = ""
    unreachable: Sequence[Unreachable] = ()


class WorkflowStore(Protocol):
    """The groups, nodes and runs of workflows. All calls for one batch of ends are one transaction."""

    @property
    def most_dependents(self) -> int:
        """About how many dependents one transaction fails. The others are pending: see ``parts``."""

    def message(self, settlement: Settlement) -> RawMessage | None:
        """Return the message of a settlement, before it is deleted."""

    def resolve(self, envelopes: Sequence[Envelope]) -> Sequence[Envelope]:
        """Return the messages with the queues of their exchanges. Raises ``QueueNotFound``."""

    def must_raise(self, error: Exception) -> bool:
        """Tell whether ``error`` comes from the database, and not from the body of a chord."""

    def finalize(self, settlements: Sequence[Settlement]) -> set[str]:
        """Write ends; return the ids of the tasks that had not ended before."""

    def fail(self, settlements: Sequence[Settlement]) -> set[str]:
        """Write the failures of tasks that never run; return the ids of the tasks that had not ended before."""

    def send(self, envelopes: Sequence[Envelope]) -> None:
        """Send messages, but for tasks that were revoked or have ended."""

    def insert(self, groups: Iterable[NewGroup], nodes: Iterable[NewNode], new: Collection[str] = ()) -> None:
        """Write groups and nodes; nodes that exist stay. No other transaction may have written the nodes ``new``."""

    def write_pending(self, groups: Sequence[NewGroup]) -> None:
        """Write pending rows, and have them worked off: see ``parts``."""

    def known_nodes(self, task_ids: Collection[str]) -> Collection[str]:
        """Return the ids that have a node."""

    def predecessor(self, task_id: str) -> str:
        """Return ``waits_for`` of a node, empty if there is none."""

    def set_predecessor(self, task_id: str, waits_for: str) -> None:
        """Change ``waits_for`` of a node."""

    def dependents(self, task_id: str) -> Dependents:
        """Return the group and the dependents of a task, read from the nodes: no text names them."""

    def grow(self, sizes: dict[str, int]) -> None:
        """Add new members to the counts of groups, in the order of the groups' ids."""

    def revoked_members(self, group_id: str) -> Sequence[str]:
        """Return the members that were revoked before they were sent."""

    def counts(self, group_ids: Collection[str]) -> Sequence[GroupCount]:
        """Lock groups in the order of their ids, and return their counts."""

    def set_counts(self, counts: Sequence[GroupCount]) -> None:
        """Write the counts of groups."""

    def bodies(self, group_ids: Collection[str], most: int | None = None) -> Sequence[Body]:
        """Return the bodies of groups. A body whose text was altered has an empty text.

        A body above ``most`` bytes is large, and not read. Nor are the last bodies, if all of them together have many
        times ``most`` bytes.
        """

    def take_bodies(self, group_ids: Collection[str]) -> Sequence[Body]:
        """Return the bodies of groups, and clear them in the groups: no second end may send them."""

    def failed_bodies(self, group_ids: Collection[str], most: int | None = None) -> Sequence[Body]:
        """Return bodies, and rests of chains, that fail. A store that can retry tasks keeps them."""

    def clear_bodies(self, group_ids: Collection[str]) -> None:
        """Clear the bodies of groups: no second end may send them."""

    def with_large_values(self, group_ids: Collection[str], most: int) -> Collection[str]:
        """Return those groups whose members have values of more than ``most`` bytes together."""

    def waiting_bodies(self, group_ids: Collection[str]) -> Mapping[str, bool]:
        """Lock groups; return those whose large body waits to be sent or to fail, each with ``GroupCount.failed``."""

    def end_bodies(self, group_ids: Mapping[str, bool]) -> None:
        """End the waiting of large bodies: clear them, and delete the runs that were kept for them.

        ``group_ids`` says of each group, or rest, whether it has failed, and is kept for a retry.
        """

    def queue_of(self, group_id: str) -> str:
        """Return the queue of a member, empty if none is known."""

    def members(self, group_id: str) -> Iterable[Member]:
        """Read the members of a group in the order of their positions. Raises if a value can't be relied on."""

    def drop_values(self, task_ids: Sequence[str]) -> None:
        """Delete the runs that were kept for the body only."""
