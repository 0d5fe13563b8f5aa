"""The order in which the store thread works: what one duty has done in a turn, the later ones rely on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from taskq.conf import settings
from taskq.messages import routing
from taskq.worker.duties.database_source import DatabaseSource
from taskq.worker.duties.declarations import Declarations
from taskq.worker.duties.lease import WorkerLease
from taskq.worker.duties.ledger import Ledger
from taskq.worker.duties.maintenance import Maintenance
from taskq.worker.duties.parking import Parking
from taskq.worker.duties.parts import Parts
from taskq.worker.duties.pauses import Pauses
from taskq.worker.duties.redeliveries import Redeliveries
from taskq.worker.duties.shared_rates import SharedRates
from taskq.worker.duties.statistics import Statistics
from taskq.worker.duties.store_thread import Duty
from taskq.worker.duties.unknown_tasks import UnknownTasks
from taskq.worker.node import WorkerNode
from taskq.worker.options import WorkerOptions

#: Duties that come first in their turn, the duties behind them, and why.
REASONS: list[tuple[str, type[Duty], list[type[Duty]]]] = [
    (
        "a worker that was frozen learns that it was taken for dead before it writes anything",
        WorkerLease,
        [Declarations, Ledger, SharedRates, Pauses, Parking, DatabaseSource, Redeliveries, UnknownTasks, Parts,
         Maintenance, Statistics],
    ),
    ("the ends of tasks are written, and make room, before more is claimed", Ledger, [DatabaseSource]),
    ("the first claim takes no message of a task above its rate", SharedRates, [DatabaseSource]),
    ("the first claim takes no message of a paused queue", Pauses, [DatabaseSource]),
    ("messages above their rate are put away, and make room, before more is claimed", Parking, [DatabaseSource]),
    ("a redelivered message that was claimed is read in the same turn", DatabaseSource, [Redeliveries]),
    (
        "tasks do not wait for work that may come later",
        DatabaseSource,
        [UnknownTasks, Parts, Maintenance, Statistics],
    ),
]  # fmt: skip


@pytest.fixture
def duties() -> Iterator[list[type[Duty]]]:
    """The types of the duties of a worker that was put together, and has not started."""
    options = WorkerOptions("w@here", list(routing.select([]).values()), 1, pool="threads")
    node = WorkerNode(options, settings.DATABASE)
    yield [type(duty) for duty in node.store.duties]
    for duty in node.store.duties:
        duty.end()


@pytest.mark.parametrize(("first", "behind"), [row[1:] for row in REASONS], ids=[row[0] for row in REASONS])
def test_order_of_duties(duties: list[type[Duty]], first: type[Duty], behind: list[type[Duty]]) -> None:
    assert all(duties.index(first) < duties.index(each) for each in behind)


def test_every_duty_has_a_place_in_the_order(duties: list[type[Duty]]) -> None:
    assert set(duties) == {duty for _, first, behind in REASONS for duty in (first, *behind)}
    assert len(set(duties)) == len(duties)
