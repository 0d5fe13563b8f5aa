"""What ``taskmulti`` does with its nodes, and the lines that it prints."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain

from taskq.management import arguments

from .nodes import Node, expand_for
from .starting import command_of, start
from .stopping import Say, Stopping


@dataclass(slots=True)
class Cluster:
    """Nodes, and the command line of their workers: ``program`` is Python and ``manage.py``, ``command`` the rest.

    Methods that start or signal return whether that succeeded for all nodes.
    """

    nodes: Sequence[Node]
    program: Sequence[str]
    command: str
    say: Say
    verbose: bool = False
    #: What workers that have started had to say: the same of each, such as warnings of checks, is printed once.
    _said: list[list[str]] = field(default_factory=list)

    # -- printing

    def show(self) -> None:
        """Print the command line of each node."""
        for node in self.nodes:
            self.say(self._command_line(node))

    def names(self) -> None:
        """Print the full name of each node."""
        for node in self.nodes:
            self.say(node.name)

    def get(self, name: str) -> None:
        """Print the arguments of one node. Raises ``ValueError`` if it is not there."""
        found = [node for node in self.nodes if name in (node.name, node.name.partition("@")[0])]
        if not found:
            raise ValueError(f"There is no node {name!r}.")
        for node in found:
            self.say(shlex.join(node.arguments))

    def expand(self, template: str) -> None:
        """Print a text for each node, with the node's name in it."""
        for node in self.nodes:
            self.say(expand_for(node.name, template))

    # -- starting and stopping

    def start(self) -> bool:
        """Start all nodes, and wait until each is ready or has ended."""
        self.say("> Starting nodes...")
        return self._start(self.nodes, "\t> {}: ")

    def stop(self, number: signal.Signals, *, waits: bool) -> bool:
        """Send a signal to all nodes. ``waits``: until their processes have ended."""
        stopping = self._signal(number)
        for _ in stopping.wait() if waits else ():
            pass
        return not stopping.failed

    def restart(self, number: signal.Signals) -> bool:
        """Send a signal to all nodes, and start each one as soon as its process has ended."""
        stopping = self._signal(number)
        ended = chain([stopping.down], stopping.wait())
        succeeded = [self._start(nodes, "> Restarting node {}: ") for nodes in ended]
        return all(succeeded) and not stopping.failed

    def _signal(self, number: signal.Signals) -> Stopping:
        self.say("> Killing nodes..." if number == signal.SIGKILL else "> Stopping nodes...")
        # Options of the command do not tell its process from others, its name does.
        stopping = Stopping(self.nodes, shlex.split(self.command)[0], self.say)
        stopping.send(number)
        return stopping

    def _start(self, nodes: Iterable[Node], title: str) -> bool:
        succeeded = True
        for started in start(nodes, self.program, self.command, arguments.cpus()):
            failed = started.status != 0
            succeeded &= not failed
            self.say(title.format(started.node.name) + ("FAILED" if failed else "OK"), is_error=failed)
            if self.verbose:
                self.say(f"\t  {self._command_line(started.node)}")
            if failed or started.lines not in self._said:
                for text in started.lines:
                    self.say(f"\t  {text}", is_error=failed)
                self._said.append(started.lines)
        return succeeded

    def _command_line(self, node: Node) -> str:
        return shlex.join(command_of(node, self.program, self.command))
