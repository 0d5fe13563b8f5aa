"""One slot of the prefork pool: the child that fills it, and the child before that while it ends."""

from __future__ import annotations

from taskq.handover import Delivery

from .base import MAX_IN_FLIGHT, Unfinished
from .child_processes import Place
from .pool_child import State
from .prefork_child import PreforkChild


class PreforkSlot(Place[PreforkChild]):
    """A slot with its own child. See ``base.Slot`` for the public part."""

    def __init__(self, index: int, max_tasks: int | None) -> None:
        super().__init__(index)
        #: The child before, which has nothing left to do and was asked to stop. The slot does not wait for its end.
        self.ending: PreforkChild | None = None
        self._max_tasks = max_tasks

    def __repr__(self) -> str:
        return f"<slot {self.index} {self.state.value}, pid {self.pid}, {self.in_flight} in flight>"

    @property
    def state(self) -> State:
        """The state of the slot's child."""
        return self.child.state if self.child is not None else State.DOWN

    @property
    def pid(self) -> int | None:
        """The process that runs deliveries now, if any."""
        return self.child.pid if self.child is not None else None

    @property
    def in_flight(self) -> int:
        """How many deliveries were handed over and have no outcome yet."""
        return self.child.in_flight if self.child is not None else 0

    @property
    def idle(self) -> bool:
        """Whether nothing is in flight."""
        return not self.in_flight

    @property
    def busy_since(self) -> float | None:
        """``time.monotonic()`` when the delivery at the head began, as far as is known; ``None`` when idle."""
        return self.child.busy_since if self.child is not None else None

    @property
    def accepting(self) -> bool:
        """Whether deliveries may be handed over."""
        return self.room > 0

    @property
    def room(self) -> int:
        """How many deliveries may be handed over now."""
        child = self.child
        if child is None or child.state is not State.UP:
            return 0
        in_flight = child.in_flight
        room = MAX_IN_FLIGHT - in_flight
        return room if self._max_tasks is None else min(room, self._max_tasks - child.completed - in_flight)

    def has_run_all(self, child: PreforkChild) -> bool:
        """Whether a child has run as many tasks as it may."""
        return self._max_tasks is not None and child.completed >= self._max_tasks

    @property
    def head(self) -> Delivery | None:
        """The delivery that runs now or is the next to run."""
        return self.child.head if self.child is not None else None

    def unfinished(self) -> list[Unfinished]:
        """Return the child's deliveries without an outcome, each with whether it has started."""
        return self.cut_short + (self.child.unfinished() if self.child is not None else [])
