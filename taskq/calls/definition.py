"""``TaskDefinition``: the attributes of a task for the rooms below ``tasks``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol


class TaskDefinition(Protocol):
    """A task in the registry; ``tasks.task.Task`` implements it and documents its attributes."""

    name: str
    origin: str
    ignore_result: bool
    store_errors_even_if_ignored: bool
    track_started: bool
    trail: bool
    typing: bool
    acks_late: bool
    max_deliveries: int
    time_limit: float | None
    soft_time_limit: float | None
    rate_limit: str | float | None
    rate_limit_scope: str
    serializer: str
    compression: str | None
    sensitive: Sequence[str]
    dump_arguments: Callable[[Any, Any], tuple[Any, Any]] | None

    def prepare(self) -> None:
        """Name the task, and check its options."""

    @property
    def call_signature(self) -> inspect.Signature:
        """The signature of the function, without ``self``."""

    @property
    def positions(self) -> Mapping[str, int]:
        """The position of each positional parameter."""

    @property
    def binds(self) -> bool:
        """Whether the function gets the task as its first argument, ``self``."""

    def check_arguments(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Raise ``TypeError`` if the function does not take these arguments."""

    @property
    def apply_async(self) -> Callable[..., Any]:
        """Send the task."""

    @property
    def __call__(self) -> Callable[..., Any]:
        """Run the function here."""
