"""The commands that a worker knows, by name: taskq's own and those of the apps' ``control.py``.

``@control_command`` and ``@inspect_command`` add to it, with Celery's arguments. The mailbox looks names up, and the
management commands list them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeVar, overload

from django.utils.module_loading import autodiscover_modules

__all__ = ["Command", "commands", "control_command", "inspect_command", "load", "visible"]

Handler = Callable[..., Any]
H = TypeVar("H", bound=Handler)


@dataclass(frozen=True, slots=True)
class Command:
    """A command: its handler gets the worker's state first, then the arguments of the message by name.

    ``args`` are the names and types of what the command line takes; ``variadic`` is the argument that gets all others.
    ``signature`` shows them: those in angle brackets are required, unless square brackets are around
    them. ``default_timeout`` is in seconds. Commands that are not ``visible`` are not listed. Nobody waits for a
    command that ``replies`` not.
    """

    name: str
    #: ``inspect`` changes nothing in the worker, ``control`` does.
    kind: str
    handler: Handler
    args: Sequence[tuple[str, Callable[[str], Any]]] = ()
    signature: str = ""
    variadic: str = ""
    default_timeout: float = 1.0
    visible: bool = True
    replies: bool = True

    @property
    def help(self) -> str:
        """The first line of the handler's docstring."""
        return (self.handler.__doc__ or "").strip().partition("\n")[0]

    @property
    def required(self) -> int:
        """How many arguments a command line has to have."""
        depth = found = 0
        for each in self.signature:
            depth += (each == "[") - (each == "]")
            found += each == "<" and not depth
        # The text is free: it may have more such brackets than there are arguments.
        return min(found, len(self.args) + bool(self.variadic))


#: Every command by its name and its alias.
commands: dict[str, Command] = {}


@overload
def control_command(handler: H, /) -> H: ...
@overload
def control_command(**options: Any) -> Callable[[H], H]: ...
def control_command(handler: Handler | None = None, /, **options: Any) -> Any:
    """Add a command that changes the worker.

    ``options`` are ``args=[(name, type), ...]``, ``signature``, ``variadic``, ``alias``, ``default_timeout``,
    ``visible``, ``replies`` (false: callers do not wait), and ``name``, which is the function's by default.
    """
    return _command("control", handler, options)


@overload
def inspect_command(handler: H, /) -> H: ...
@overload
def inspect_command(**options: Any) -> Callable[[H], H]: ...
def inspect_command(handler: Handler | None = None, /, **options: Any) -> Any:
    """Add a command that only reads; ``options`` are those of ``control_command``."""
    return _command("inspect", handler, options)


def _command(kind: str, handler: Handler | None, options: dict[str, Any]) -> Any:
    return _add(kind, handler) if handler is not None else lambda function: _add(kind, function, **options)


def _add(
    kind: str,
    handler: Handler,
    *,
    name: str = "",
    alias: str | None = None,
    args: Sequence[tuple[str, Callable[[str], Any]]] | None = None,
    signature: str | None = None,
    variadic: str | None = None,
    default_timeout: float = 1.0,
    visible: bool = True,
    replies: bool = True,
) -> Handler:
    command = Command(
        name or handler.__name__, kind, handler, tuple(args or ()), signature or "", variadic or "", default_timeout,
        visible, replies,
    )  # fmt: skip
    commands[command.name] = command
    if alias:
        commands[alias] = command
    return handler


def load() -> None:
    """Import taskq's own commands, and ``control.py`` of every installed app; import errors are raised."""
    import_module("taskq.control.commands")
    autodiscover_modules("control")


def visible(kind: str) -> Iterator[Command]:
    """Yield the listed commands of a kind, in the order of their names, without their aliases."""
    for name, command in sorted(commands.items()):
        if command.kind == kind and command.visible and command.name == name:
            yield command
