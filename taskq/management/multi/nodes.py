"""The nodes of a command line: their names, and the arguments of each one's worker."""

from __future__ import annotations

import os
import re
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from taskq.worker.process.nodenames import expand, node_name

from .command_line import CommandLine, Given, Option

#: In the current directory, as in the guide.
_DEFAULTS = (
    Given(Option("pidfile"), "--pidfile", "%n.pid"),
    Given(Option("logfile"), "--logfile", "%n%I.log"),
)
#: The worker expands these itself, and knows the number of the process.
_EXPANDED_BY_WORKER = frozenset({"pidfile", "logfile"})
_PATHS = frozenset({"pidfile", "logfile", "workdir"})
_RANGE = re.compile(r"(\d+)(?:-(\d+))?")


@dataclass(frozen=True, slots=True)
class Node:
    """One worker: its full name, ``w1@host``, and its options by the names of their values."""

    name: str
    options: dict[str, Given]
    rest: tuple[str, ...] = ()

    @property
    def arguments(self) -> list[str]:
        """The arguments of the worker's command."""
        options = [word for given in self.options.values() for word in given.words(given.value)]
        return ["-n", self.name, *options, *self.rest]

    @property
    def pidfile(self) -> Path:
        """The node's pid file, as the worker finds it."""
        return self._file("pidfile")

    @property
    def logfile(self) -> Path:
        """The log of the node's main process."""
        return self._file("logfile")

    def _file(self, dest: str) -> Path:
        workdir = self.options.get("workdir")
        return Path.cwd() / ((workdir and workdir.value) or "") / expand(self.options[dest].value or "", self.name)


def nodes_of(line: CommandLine, range_prefix: str) -> list[Node]:
    """Return the nodes that a command line names, or counts: ``3`` is three nodes, named by ``range_prefix``.

    Raises ``ValueError`` if there is none, if two have one name or one pid file, or if an option selects a node that
    is not there.
    """
    names = _names(line, range_prefix)
    options = [{given.option.dest: given for given in (*_DEFAULTS, *line.for_all)} for _ in names]
    for where, given in line.for_some:
        for index in _selected(where, names):
            options[index][given.option.dest] = given
    rest = (*shlex.split(line.own.get("append", "")), *line.rest)
    nodes = [Node(name, _expanded(name, own), rest) for name, own in zip(names, options, strict=True)]
    _refuse_doubles(nodes)
    return nodes


def expand_for(node: str, template: str, keep: str = "iI") -> str:
    """Expand a template as the worker does, but leave those of ``keep``: only the worker knows its processes."""

    def kept(match: re.Match[str]) -> str:
        if match[1] == "N":  # Celery's other word for the short name
            return "%n"
        return match[0].replace("%", "%%") if match[1] in keep else match[0]

    return expand(re.sub(r"%(.)", kept, template), node)


def _names(line: CommandLine, range_prefix: str) -> list[str]:
    """Return the full names of the nodes."""
    short = [line.own.get("prefix", "") + name for name in line.names]
    if len(line.names) == 1 and line.names[0].isdecimal():
        prefix = line.own.get("range_prefix") or range_prefix
        short = [f"{prefix}{number}" for number in range(1, int(line.names[0]) + 1)]
    if not short:
        raise ValueError("No node is named. Name some, as in start w1 w2, or say how many there are, as in start 3.")
    host = line.own.get("suffix")
    return [node_name(f"{name}@{host}" if host and "@" not in name else name) for name in short]


def _selected(where: str, names: Sequence[str]) -> list[int]:
    """Return the indexes of the nodes of a selection: names, numbers from 1 and ranges, with commas between."""
    return [index for part in where.split(",") for index in _indexes(part, names)]


def _indexes(part: str, names: Sequence[str]) -> Sequence[int]:
    if named := [index for index, name in enumerate(names) if part in (name, name.partition("@")[0])]:
        return named
    match = _RANGE.fullmatch(part)
    if match is None:
        raise ValueError(f"There is no node {part!r}.")
    first, last = int(match[1]), int(match[2] or match[1])
    if not 1 <= first <= last <= len(names):
        raise ValueError(f"There are no nodes {part!r}: the numbers of the nodes are 1 to {len(names)}.")
    return range(first - 1, last)


def _expanded(name: str, options: dict[str, Given]) -> dict[str, Given]:
    return {dest: _with_names(name, given) for dest, given in options.items()}


def _with_names(name: str, given: Given) -> Given:
    # A password in the URL of a broker may have any characters.
    if given.value is None or given.option.dest == "broker":
        return given
    keep = "iI%" if given.option.dest in _EXPANDED_BY_WORKER else "iI"
    value = expand_for(name, given.value, keep)
    # A shell leaves the tilde of --pidfile=~/run as it is.
    return replace(given, value=os.path.expanduser(value) if given.option.dest in _PATHS else value)


def _refuse_doubles(nodes: Sequence[Node]) -> None:
    for what, values in (
        ("the name", [node.name for node in nodes]),
        ("the pid file", [str(node.pidfile) for node in nodes]),
    ):
        value, count = Counter(values).most_common(1)[0]
        if count > 1:
            raise ValueError(f"{count} nodes have {what} {value}.")
