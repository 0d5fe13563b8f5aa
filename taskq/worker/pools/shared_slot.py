"""One slot of a pool whose child is shared: a seat for one delivery, in whichever child runs it."""

from __future__ import annotations

from taskq.handover import Delivery

from .child_processes import Place
from .pool_child import State
from .shared_child import SharedChild


class SharedPlace(Place[SharedChild]):
    """The place of the child that gets deliveries; children before it may still run some."""

    def __init__(self, max_tasks: int | None) -> None:
        super().__init__(0)
        self._max_tasks = max_tasks

    @property
    def room(self) -> int | None:
        """How many more deliveries the child may get; ``None`` is no limit."""
        child = self.child
        if child is None or child.state is not State.UP:
            return 0
        return None if self._max_tasks is None else max(0, self._max_tasks - child.given)


class SharedSlot:
    """A slot; see ``base.Slot``. ``place`` has the child to which the next delivery goes."""

    def __init__(self, index: int, place: SharedPlace) -> None:
        self.index = index
        self.delivery: Delivery | None = None
        #: The child that has the delivery.
        self.child: SharedChild | None = None
        self.busy_since: float | None = None
        self.removing = False
        self._place = place

    @property
    def pid(self) -> int | None:
        """The process that runs the delivery, or will run the next one."""
        child = self.child or self._place.child
        return child.pid if child is not None else None

    @property
    def in_flight(self) -> int:
        """How many deliveries were handed over and have no outcome yet: at most one."""
        return int(self.delivery is not None)

    @property
    def idle(self) -> bool:
        """Whether nothing is in flight."""
        return self.delivery is None

    @property
    def accepting(self) -> bool:
        """Whether a delivery may be handed over."""
        return self.delivery is None and not self.removing and self._place.room != 0

    @property
    def room(self) -> int:
        """How many deliveries may be handed over now: one at most, so that none waits behind another."""
        return int(self.accepting)

    def fill(self, delivery: Delivery, child: SharedChild, since: float) -> None:
        """The delivery was handed to ``child``."""
        self.delivery, self.child, self.busy_since = delivery, child, since

    def clear(self) -> None:
        """The delivery has ended, or was taken back."""
        self.delivery = self.child = self.busy_since = None
