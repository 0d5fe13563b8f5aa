"""The processes of nodes that run: found by their pid files, signalled, and waited for."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from taskq.log_escapes import escaped
from taskq.processes import command_line, is_gone, process_started, send_signal
from taskq.worker.process.pidfile import PidFile, PidFileError

from .nodes import Node

#: Seconds between two looks at processes that are to end.
_POLL = 0.1
#: Seconds between two dots while the command waits.
_DOT = 2.0


class Say(Protocol):
    """Prints a text. ``is_error``: also if the command is to be quiet."""

    def __call__(self, text: str, /, *, end: str = "\n", is_error: bool = False) -> None:
        """Print ``text``, and then ``end``."""


class NotRunning(Exception):
    """A node has no process, for a reason."""


@dataclass(frozen=True, slots=True)
class RunningNode:
    """A node, its process, and the start of that, which tells it from a later one with the same pid."""

    node: Node
    pid: int
    started: int | None

    @property
    def is_gone(self) -> bool:
        """Whether the process has ended."""
        return is_gone(self.pid, self.started or 0)

    def forget(self) -> None:
        """Remove the pid file of a process that was killed before it could do so."""
        PidFile(str(self.node.pidfile)).release(self.pid)


def find(node: Node, command: str) -> RunningNode:
    """Return the process of a node, whose command line has the word ``command``.

    Raises ``NotRunning`` without a pid file, and if the process of the file has ended or is another program;
    ``PidFileError`` or ``OSError`` if that can't be told.
    """
    path = node.pidfile
    found = PidFile(str(path)).look()
    if found is None:
        raise NotRunning(f"there is no pid file {path}")
    pid, alive = found
    if not alive:
        raise NotRunning(f"{path} is left over: its process {pid} has ended")
    if not _may_name(path, pid):
        raise NotRunning(f"{path} names process {pid} of another user than the file's")
    # The start first: if the pid becomes another process's, the start is no longer right.
    started = process_started(pid)
    if command not in (line := command_line(pid)).split():
        shown = escaped(line[:200]) or "not visible"
        raise NotRunning(f"{path} names process {pid}, which is another program: {shown}")
    return RunningNode(node, pid, started)


class Stopping:
    """Sends a signal to nodes, and prints by ``say`` what happened.

    ``failed`` is true if a node could not be signalled, though it may run.
    """

    def __init__(self, nodes: Iterable[Node], command: str, say: Say) -> None:
        self._nodes = nodes
        self._command = command
        self._say = say
        self.running: list[RunningNode] = []
        self.down: list[Node] = []
        self.failed = False

    def send(self, number: signal.Signals) -> None:
        """Send the signal to each node that runs."""
        for node in self._nodes:
            try:
                self._send(find(node, self._command), number)
            except NotRunning as reason:
                self.down.append(node)
                self._say(f"\t> {node.name}: DOWN ({reason})")
            except (PidFileError, OSError) as error:
                self.failed = True
                self._say(f"\t> {node.name}: {error}", is_error=True)

    def _send(self, running: RunningNode, number: signal.Signals) -> None:
        name = running.node.name
        try:
            if not send_signal(running.pid, running.started, number):
                raise NotRunning(f"process {running.pid} has just ended")
        except PermissionError as error:
            raise OSError(f"not allowed to signal process {running.pid}") from error
        self.running.append(running)
        self._say(f"\t> {name}: {number.name.removeprefix('SIG')} -> {running.pid}")

    def wait(self) -> Iterator[list[Node]]:
        """Wait until all have ended; yield the nodes that have, a few at a time."""
        left = self.running
        while left:
            word = "node" if len(left) == 1 else "nodes"
            self._say(f"> Waiting for {len(left)} {word} -> {', '.join(str(each.pid) for each in left)}...", end="")
            gone = self._wait_for_one(left)
            self._say("")
            left = [each for each in left if each not in gone]
            for each in gone:
                each.forget()
                self._say(f"\t> {each.node.name}: DOWN")
            yield [each.node for each in gone]

    def _wait_for_one(self, left: list[RunningNode]) -> list[RunningNode]:
        dot = time.monotonic()
        while not (gone := [each for each in left if each.is_gone]):
            if time.monotonic() >= dot:
                self._say(".", end="")
                dot += _DOT
            time.sleep(_POLL)
        return gone


def _may_name(path: Path, pid: int) -> bool:
    """Tell whether root can believe a pid file: another user's file may only name a process of that user."""
    if os.geteuid() != 0:
        return True
    try:
        owner = os.lstat(path).st_uid
        return owner in (0, os.stat(f"/proc/{pid}").st_uid)
    except OSError:
        return False
