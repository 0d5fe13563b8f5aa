"""Starting nodes: each by the worker's own command with ``--detach``, which returns when the worker is ready."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from taskq.files import directory_of
from taskq.log_escapes import escaped

from .nodes import Node

#: The most lines, and bytes, that are shown of an error and of a log.
_MOST_LINES, _MOST_BYTES = 15, 8192


@dataclass(frozen=True, slots=True)
class Started:
    """How the start of a node ended: the exit status of the command, and lines that say why."""

    node: Node
    status: int
    lines: list[str]


def program(executable: str | None, *, from_shell: bool) -> list[str]:
    """Return the words before the name of a command: this Python and this ``manage.py``, with Python's options.

    ``from_shell``: this process was started by a command line; otherwise Django's own program is used.
    """
    python = executable or sys.executable
    if not from_shell:
        return [python, "-m", "django"]
    # Python's words for the program, -m django or manage.py, are those before the program's own arguments.
    return [python, *sys.orig_argv[1 : len(sys.orig_argv) - len(sys.argv) + 1]]


def command_of(node: Node, program: Sequence[str], command: str) -> list[str]:
    """Return the command line that starts a node; ``command`` is text such as ``taskworker --detach``."""
    return [*program, *shlex.split(command), *node.arguments]


def start(nodes: Iterable[Node], program: Sequence[str], command: str, most: int) -> Iterator[Started]:
    """Start nodes, ``most`` of them at the same time, and yield in their order how each start ended."""
    with ThreadPoolExecutor(most) as starters:
        yield from starters.map(lambda node: _start(node, program, command), nodes)


def _start(node: Node, program: Sequence[str], command: str) -> Started:
    try:
        with directory_of(str(node.logfile), create=True):
            written = _size(node.logfile)
        done = subprocess.run(
            command_of(node, program, command),
            env={"DJANGO_SETTINGS_MODULE": settings.SETTINGS_MODULE, **os.environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            check=False,
        )
    except OSError as error:
        return Started(node, 1, [str(error)])
    lines = _last_lines(done.stderr)
    if done.returncode and (log := _last_lines(_read(node.logfile, written))):
        lines += [f"The last lines of {node.logfile}:", *log]
    return Started(node, done.returncode, lines)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _read(path: Path, start: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(max(start, _size(path) - _MOST_BYTES))
            return file.read(_MOST_BYTES)
    except OSError:
        return b""


def _last_lines(output: bytes) -> list[str]:
    lines = output.decode(errors="replace").rstrip().splitlines()
    return [escaped(line, "\t") for line in lines[-_MOST_LINES:]]
