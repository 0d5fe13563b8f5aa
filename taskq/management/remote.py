"""What ``taskinspect``, ``taskcontrol`` and ``taskstatus`` share: their options, asking, and printing."""

from __future__ import annotations

import json
import os
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pprint import pformat
from textwrap import indent
from typing import Any

from django.core.management.base import CommandError, OutputWrapper
from django.db import DatabaseError

from taskq import control
from taskq.conf import masked_url, settings
from taskq.control import broadcast, registry
from taskq.control.registry import Command as RemoteCommand
from taskq.log_escapes import escaped
from taskq.management import arguments
from taskq.management.short import ShortCommand

#: The functions behind the commands that hold whether a worker runs or not.
REVOKING: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (control.revoke, control.terminate, control.revoke_by_stamped_headers, control.revoke_by_name)
}
#: The exit status if no worker answers: that of an unavailable service.
UNAVAILABLE = os.EX_UNAVAILABLE


def not_understood(why: str) -> CommandError:
    """Return the error that ends the command with the status of a command line that can't be read, as argparse's."""
    return CommandError(why, returncode=2)


def nobody_answered() -> CommandError:
    """Return the error that ends the command with status 69."""
    return CommandError("No nodes replied within time constraint", returncode=UNAVAILABLE)


class RemoteBase(ShortCommand):
    """A management command that asks workers."""

    requires_system_checks = []
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options of all three."""
        parser.add_argument("-t", "--timeout", type=arguments.seconds, help="seconds to wait for replies (1.0)")
        parser.add_argument("-d", "--destination", type=arguments.names, help="nodes to ask, separated by commas (all)")
        parser.add_argument("-j", "--json", action="store_true", help="print JSON")

    def ask(self, options: dict[str, Any], command: str, given: dict[str, Any], timeout: float, **more: Any) -> Any:
        """Send a command and return its replies by node."""
        return self.call(partial(broadcast, command, given, reply=True), options, timeout, **more)

    def call(self, function: Callable[..., Any], options: dict[str, Any], timeout: float, **more: Any) -> Any:
        """Call a function of ``taskq.control`` with the options, and return the replies by node."""
        try:
            replies = function(destination=options["destination"], timeout=options["timeout"] or timeout, **more)
        except CommandError:
            raise
        except Exception as error:
            if options["traceback"]:
                raise
            url = masked_url(settings.CONTROL_URL)
            raise CommandError(f"The broker of remote control, {url}, can't be used: {error!r}") from error
        return {node: reply for found in replies or () for node, reply in found.items()}


class FamilyCommand(RemoteBase):
    """``taskinspect`` and ``taskcontrol``: the remote commands of one kind, each with its arguments."""

    kind: str

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        """Return the parser; its help lists the remote commands."""
        registry.load()
        kwargs |= {"epilog": listing(self.kind), "formatter_class": RawDescriptionHelpFormatter}
        return super().create_parser(prog_name, subcommand, **kwargs)

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the remote command and its arguments."""
        super().add_arguments(parser)
        parser.add_argument("--list", action="store_true", help="list the commands, and end")
        parser.add_argument("command", nargs="?", help="a command of the list below")
        parser.add_argument("arguments", nargs="*", help="its arguments")

    def handle(self, *args: Any, **options: Any) -> None:
        """Ask, and print each reply as it comes."""
        if options["list"] or not options["command"]:
            self.stdout.write(listing(self.kind))
            if not options["list"]:
                raise not_understood("Name a command of the list.")
            return
        command = registry.commands.get(options["command"])
        if command is None or command.kind != self.kind:
            raise not_understood(f"Unknown command {options['command']!r}: see --list.")
        given = read_arguments(command, options["arguments"])
        if not command.replies:
            self.call(partial(broadcast, command.name, given), options, 0.0)
            self.stdout.write("[]" if options["json"] else f"sent: {command.name}, which has no reply")
        else:
            self._answered(command, given, options)

    def _answered(self, command: RemoteCommand, given: dict[str, Any], options: dict[str, Any]) -> None:
        say = print_nothing if options["json"] else lambda found: print_replies(self.stdout, found)
        revoke = REVOKING.get(command.name)
        if revoke is None:
            found = self.ask(options, command.name, given, command.default_timeout, callback=say)
        else:
            tell = print_nothing if options["json"] else lambda count: print_revoked(self.stdout, count)
            revoke = partial(written, revoke, tell, **given, reply=True)
            found = self.call(revoke, options, command.default_timeout, callback=say)
        if not found and revoke is None:
            raise nobody_answered()
        if options["json"]:
            self.stdout.write(json.dumps(found if self.kind == "inspect" else [{n: r} for n, r in found.items()]))
        elif not found:
            self.stdout.write("No nodes replied within time constraint: workers have it from the database.")
        elif self.kind == "inspect":
            self.stdout.write(online(len(found)))


def written(revoke: Callable[..., Any], tell: Callable[[int], object], **given: Any) -> Any:
    """Call a function that revokes, and ``tell`` how many tasks that were. Raises ``CommandError`` if it could not."""
    counts: list[int] = []

    def on_written(count: int) -> None:
        counts.append(count)
        tell(count)

    try:
        return revoke(**given, on_written=on_written)
    except (TypeError, ValueError) as error:
        if counts:
            raise
        raise not_understood(escaped(str(error))) from error
    except DatabaseError as error:
        if counts:
            raise
        raise CommandError(f"Nothing is revoked: the database {settings.DATABASE!r} says {error!r}") from error


def listing(kind: str) -> str:
    """Return the remote commands of a kind, each with its arguments and what it is for."""
    lines = ["commands:"]
    for command in registry.visible(kind):
        lines.append(f"  {command.name} {command.signature}".rstrip())
        lines.append(f"      {command.help}")
    return "\n".join(lines)


def read_arguments(command: RemoteCommand, texts: Sequence[str]) -> dict[str, Any]:
    """Return the arguments of the command line by name. Raises ``CommandError`` for wrong, missing or too many ones."""
    given: dict[str, Any] = {}
    usage = f"{command.name} {command.signature}".rstrip()
    if len(texts) < command.required:
        raise not_understood(f"{usage}: an argument is missing.")
    for (name, convert), text in zip(command.args, texts, strict=False):
        try:
            given[name] = convert(text)
        except (TypeError, ValueError):
            raise not_understood(f"{usage}: {name} can't be {text!r}.") from None
    rest = list(texts[len(command.args) :])
    if command.variadic:
        given[command.variadic] = rest
    elif rest:
        raise not_understood(f"{usage}: {rest[0]!r} is too much.")
    return given


# -- output, as Celery's commands print it


def print_nothing(found: object) -> None:
    """Print nothing: all replies are printed together."""


def print_revoked(out: OutputWrapper, count: int) -> None:
    """Print that tasks are revoked, whoever replies."""
    out.write(f"{count} {'task' if count == 1 else 'tasks'} revoked in the database, or asked for in a worker.")


def print_replies(out: OutputWrapper, found: Mapping[str, Any]) -> None:
    """Print the reply of one node."""
    for node, reply in found.items():
        print_status(out, node, reply)
        if text := shown(reply)[1]:
            # Who answers may be anybody: nothing in it acts on the terminal, or begins a line as a node does.
            out.write(indent(escaped(text, "\n\t"), "    "))


def print_status(out: OutputWrapper, node: str, reply: Any) -> None:
    """Print that a node has answered."""
    out.write(f"->  {escaped(node)}: {shown(reply)[0]}")


def shown(reply: Any) -> tuple[str, str]:
    """Return OK or ERROR, and the text of a reply."""
    if isinstance(reply, list):
        return "OK", "\n".join(f"* {item}" for item in reply) or "- empty -"
    if isinstance(reply, dict):
        for key, word in (("ok", "OK"), ("error", "ERROR")):
            if key in reply:
                return word, indent(shown(reply[key])[1], "    ")
        return "OK", json.dumps(reply, indent=4, sort_keys=True, default=str)
    return "OK", reply if isinstance(reply, str) else pformat(reply)


def online(count: int) -> str:
    """Return the last line, as Celery has it."""
    return f"\n{count} {'node' if count == 1 else 'nodes'} online."
