"""Commands about events, for the service of the worker that sends them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from taskq.control.registry import control_command, inspect_command

if TYPE_CHECKING:
    # The management commands read the commands too, and need nothing of a worker.
    from taskq.control.state import WorkerState

_UNAVAILABLE = {"error": "event dispatcher unavailable"}


@runtime_checkable
class EventSwitch(Protocol):
    """The service that sends events, as these commands use it: ``taskq.events.service.Events``."""

    def enable_events(self) -> bool:
        """Send events of tasks; return false if that is so already."""
        ...

    def disable_events(self) -> bool:
        """Send no more events of tasks; return false if none were sent."""
        ...

    def beat(self) -> None:
        """Send a heartbeat now."""
        ...


def _switch(state: WorkerState) -> EventSwitch | None:
    return next((service for service in state.node.services if isinstance(service, EventSwitch)), None)


@inspect_command
def clock(state: WorkerState, **_: Any) -> dict[str, int]:
    """Show the logical clock."""
    return {"clock": state.clock.value}


@control_command
def enable_events(state: WorkerState, **_: Any) -> dict[str, str]:
    """Have workers send events of tasks."""
    if (switch := _switch(state)) is None:
        return _UNAVAILABLE
    return {"ok": "task events enabled" if switch.enable_events() else "task events already enabled"}


@control_command
def disable_events(state: WorkerState, **_: Any) -> dict[str, str]:
    """Have workers send no more events of tasks."""
    if (switch := _switch(state)) is None:
        return _UNAVAILABLE
    return {"ok": "task events disabled" if switch.disable_events() else "task events already disabled"}


@control_command
def heartbeat(state: WorkerState, **_: Any) -> None:
    """Have workers send a heartbeat event now."""
    if (switch := _switch(state)) is not None:
        switch.beat()


@control_command(visible=False)
def election(state: WorkerState, **_: Any) -> None:
    """Hold no election: Celery's workers ask for one among themselves."""
