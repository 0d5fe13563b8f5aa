"""Commands about events."""

from __future__ import annotations

from typing import Any

from taskq.control.registry import control_command, inspect_command
from taskq.control.state import WorkerState

_UNAVAILABLE = {"error": "event dispatcher unavailable"}


@inspect_command
def clock(state: WorkerState, **_: Any) -> dict[str, int]:
    """Show the logical clock."""
    return {"clock": state.clock.value}


@control_command
def enable_events(state: WorkerState, **_: Any) -> dict[str, str]:
    """Have workers send events of tasks."""
    return _UNAVAILABLE


@control_command
def disable_events(state: WorkerState, **_: Any) -> dict[str, str]:
    """Have workers send no more events of tasks."""
    return _UNAVAILABLE


@control_command
def heartbeat(state: WorkerState, **_: Any) -> None:
    """Have workers send a heartbeat event now."""


@control_command(visible=False)
def election(state: WorkerState, **_: Any) -> None:
    """Hold no election: Celery's workers ask for one among themselves."""
