"""The contract of all pools: ``Pool`` and ``Slot``, which the worker calls, and ``PoolEvents``, which a pool calls.

A pool carries deliveries to where they run and brings back their outcomes. The worker calls every method on its loop's
thread, and there the pool calls the worker's ``PoolEvents``. A pool never touches a broker or a database, never decides
which delivery goes where, and blocks the loop only in ``stop`` and ``kill``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Protocol

from taskq.handover import Delivery, Outcome, Report

from .forkserver import ForkServer
from .hub import Hub
from .interpreter import Interpreter

#: Called in the child or thread for each delivery, with the delivery and a function that sends reports.
ReportFn = Callable[[Report], None]
RunFn = Callable[[Delivery, ReportFn], Outcome]

#: The pools of greenlets: each child is a fresh Python, patched before Django is imported.
GREEN = frozenset({"gevent", "eventlet"})
#: The most deliveries that are in one slot at a time.
MAX_IN_FLIGHT = 1000


@dataclass(slots=True)
class LostChild:
    """The deliveries without an outcome that a child had when it ended.

    ``started`` had begun (at most one with prefork), ``unstarted`` had not. ``reason`` is a sentence for the log and
    the task's error. ``killed_for`` is set if the pool killed the child or ended the task, and says why:
    ``"time_limit"`` or ``"terminate:SIGTERM"``. ``interrupted`` had begun too; the pool killed the child for the sake
    of another task.
    """

    started: list[Delivery]
    unstarted: list[Delivery]
    reason: str
    killed_for: str | None = None
    interrupted: list[Delivery] = field(default_factory=list)

    @classmethod
    def of(cls, unfinished: Sequence[Unfinished], reason: str) -> LostChild:
        """Return the loss of all that a child, or a pool, had."""
        started = [each.delivery for each in unfinished if each.started]
        return cls(started, [each.delivery for each in unfinished if not each.started], reason)


@dataclass(slots=True)
class PoolEvents:
    """The callbacks of a pool, called on the loop's thread.

    ``outcome``: a delivery has ended. ``report``: a running task reports a state to be written. ``lost``: a child has
    ended that was not asked to. ``returned``: these deliveries have not started and will not, because their child is
    being replaced; hand them over again. ``ready``: a slot has come up or has room again. ``broken``: the pool can't go
    on; ``unfinished`` returns the deliveries it had.
    """

    outcome: Callable[[Outcome], None]
    report: Callable[[Report], None]
    lost: Callable[[LostChild], None]
    returned: Callable[[list[Delivery]], None]
    ready: Callable[[], None]
    broken: Callable[[str], None]


class Unfinished(NamedTuple):
    """A delivery that a pool had and that has no outcome; ``started`` says whether it runs, or ran."""

    delivery: Delivery
    started: bool


@dataclass(slots=True)
class PoolOptions:
    """How a pool is to behave.

    ``fork_server`` is the return value of ``forkserver_process.launch``, and needed by the pools that have
    ``needs_fork_server``; its children run the function that was given there. ``run`` is called by threads for each
    delivery, by default ``taskq.execution.execute``. A child is replaced after ``max_tasks_per_child`` deliveries, and
    after a delivery that leaves it with more than ``max_memory_per_child`` KiB. ``hostname`` is the node's name, for
    titles.
    """

    hostname: str = ""
    fork_server: ForkServer | None = None
    interpreter: Interpreter | None = None
    run: RunFn | None = None
    max_tasks_per_child: int | None = None
    max_memory_per_child: int | None = None


class Slot(Protocol):
    """A place that runs one delivery at a time; it outlives the children that fill it."""

    @property
    def index(self) -> int:
        """The slot's number in its pool."""

    @property
    def pid(self) -> int | None:
        """The process that runs deliveries now, if any."""

    @property
    def in_flight(self) -> int:
        """How many deliveries were handed over and have no outcome yet."""

    @property
    def idle(self) -> bool:
        """Whether nothing is in flight."""

    @property
    def accepting(self) -> bool:
        """Whether deliveries may be handed over."""

    @property
    def room(self) -> int:
        """How many deliveries may be handed over now."""

    @property
    def busy_since(self) -> float | None:
        """``time.monotonic()`` when the delivery at the head began, as far as is known; ``None`` when idle."""


class Pool(ABC):
    """Base of all pools. ``concurrency`` is how many deliveries run at a time."""

    #: As the log and replies call the pool.
    name: ClassVar[str] = "custom"
    #: Whether ``PoolOptions.fork_server`` is to be set: the worker then forks one before it has any thread.
    needs_fork_server: ClassVar[bool] = False
    #: Whether ``Delivery.time_limit`` is enforced; a worker that needs it refuses a pool that can't.
    supports_hard_limit: ClassVar[bool] = False
    #: Whether ``terminate`` can end a running task.
    supports_terminate: ClassVar[bool] = False
    #: Whether ``terminate`` with a grace, as ``SIGTERM+5``, raises ``TaskTerminated`` in a running task.
    supports_grace: ClassVar[bool] = False
    #: Whether ``max_tasks_per_child`` and ``max_memory_per_child`` mean anything.
    supports_recycling: ClassVar[bool] = False
    #: Whether ``grow`` and ``shrink`` can do anything.
    supports_resizing: ClassVar[bool] = True
    #: Whether a task that kills its process takes the tasks of other slots with it.
    shares_process: ClassVar[bool] = False
    #: The most tasks that can run at a time; ``None`` is as many as are asked for.
    max_concurrency: ClassVar[int | None] = None

    def __init__(self, concurrency: int, events: PoolEvents, hub: Hub, options: PoolOptions) -> None:
        if concurrency < 1:
            raise ValueError(f"concurrency must be at least 1, not {concurrency}: change --concurrency.")
        self.concurrency = concurrency
        self.events = events
        self.hub = hub
        self.options = options

    @abstractmethod
    def start(self) -> None:
        """Fill the slots; ``events.ready`` follows as they come up."""

    @property
    @abstractmethod
    def slots(self) -> Sequence[Slot]:
        """The slots that count towards ``concurrency``, up or not."""

    @abstractmethod
    def hand_over(self, slot: Slot, deliveries: Sequence[Delivery]) -> None:
        """Give deliveries to a slot, in this order; those beyond its ``room`` come back by ``events.returned``."""

    @abstractmethod
    def take_back(self, slot: Slot, limit: int | None = None) -> list[Delivery]:
        """Take back the slot's last deliveries that have not started, at most ``limit``; they will not run there."""

    @abstractmethod
    def terminate(self, job: int, signal: str = "SIGTERM") -> bool:
        """Signal the child that runs ``job``, if it certainly runs it now; return whether it was signalled.

        A task may handle ``signal``; if it then goes on for some seconds, its child is
        killed. A signal that does not exist is logged, and nothing else happens. ``SIGTERM+5``
        asks the task by ``TaskTerminated`` first, and sends the signal 5 seconds later.
        """

    def stack(self, job: int, tell: Callable[[str], None]) -> None:
        """Have ``tell`` called, now or later, with the stack of the task of ``job``; an empty text if it does not run.

        Raises ``ValueError`` if the pool can't know. It may never answer: code that holds the interpreter does not.
        """
        raise ValueError(f"the {self.name} pool can't tell where a task is")

    @abstractmethod
    def grow(self, n: int = 1) -> None:
        """Add ``n`` slots."""

    @abstractmethod
    def shrink(self, n: int = 1) -> None:
        """Take away ``n`` slots, each when its started delivery has ended; ``ValueError`` if none would be left."""

    @classmethod
    def refuse(cls, interpreter: Interpreter | None) -> None:
        """Raise ``ValueError`` if the pool can't run this project's tasks, before the worker leaves the terminal."""
        return None  # most pools can run any project

    @classmethod
    def refuse_above_most(cls, concurrency: int) -> None:
        """Raise ``ValueError`` for more tasks at a time than ``max_concurrency``."""
        if cls.max_concurrency is not None and concurrency > cls.max_concurrency:
            raise ValueError(
                f"The {cls.name} pool runs at most {cls.max_concurrency} tasks at a time: "
                f"change --concurrency ({concurrency})."
            )

    def restart(self, *, reload: bool = False) -> None:
        """Replace the processes of the pool, each when its tasks have ended; ``ValueError`` if there are none.

        With ``reload`` the new ones import the project's code anew.
        """
        raise ValueError(f"the {self.name} pool has no processes to restart: stop the worker, and start it again")

    @abstractmethod
    def quiesce(self) -> None:
        """Begin a warm shutdown: nothing is accepted and no child replaced; deliveries in flight still run."""

    @abstractmethod
    def stop(self, timeout: float = 5.0) -> None:
        """End the slots, which should be idle, and wait; after ``timeout`` seconds by force."""

    @abstractmethod
    def kill(self) -> None:
        """End everything at once; ``unfinished`` then returns the deliveries that were cut short."""

    @abstractmethod
    def unfinished(self) -> list[Unfinished]:
        """Return the deliveries without an outcome."""

    @property
    def left_behind(self) -> bool:
        """Whether a task goes on in this process though the pool has ended."""
        return False

    @abstractmethod
    def info(self) -> dict[str, Any]:
        """Return plain values for the statistics, with the keys Celery's monitors know."""
