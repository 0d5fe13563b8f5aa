"""``manage.py taskmulti``: start, stop and restart many workers in the background."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.core.management import get_commands, load_command_class
from django.core.management.base import BaseCommand, CommandError, CommandParser

import taskq
from taskq.conf import settings
from taskq.management.multi.command_line import CommandLine, given_command, options_of, read
from taskq.management.multi.nodes import nodes_of

if TYPE_CHECKING:
    # Can't be imported where there is no fork.
    from taskq.management.multi.cluster import Cluster

_DEFAULT_COMMAND = "taskworker --detach"
_ABOUT = """\
Start, stop and restart many workers in the background. The first word is a command:

  start NODES       start workers, and wait until each is ready
  stop NODES        send TERM, or the signal that is named (-9, -KILL), and don't wait
  stopwait NODES    stop, and wait until the processes have ended; stop_verify is the same
  restart NODES     stopwait, and start each node as soon as it has ended
  kill NODES        send KILL
  show NODES        print the command lines that start would run
  names NODES       print the full names of the nodes
  get NODE NODES    print the worker's arguments of one of the nodes
  expand TEXT NODES print the text for each node, with %n, %p, %h and %d expanded
  help              print this

NODES are names (w1 w2, w1@host) or their number (10). All options of taskworker may follow, for all
nodes, or for some: -Q:1-3 images, -c:w1 4, -l:4,5 debug, --time-limit:2=60. What follows -- is passed on.

  manage.py taskmulti start w1 -l info
  manage.py taskmulti start 10 -l info -Q:1-3 images,video -Q:4,5 data -Q default -L:4,5 debug
  manage.py taskmulti stopwait w1 w2 --pidfile=/var/run/taskq/%n.pid

Nothing is kept about workers: stop and restart need the names, the pid files and the options of start.
"""
_OPTIONS = """\
options of taskmulti, for all nodes:
  --pidfile, --logfile      files, by default %n.pid and %n%I.log in the current directory
  -n, --hostname, --suffix  host part of the names, by default this machine's
  --prefix, --range-prefix  begin of the names; of those that are counted, by default TASKQ_NAMESPACE
  --cmd                     command that runs a worker, by default "taskworker --detach"
  --executable              Python that runs the workers, by default this one
  --append                  more arguments for each worker
  --verbose                 print the command lines too
  -q, --quiet; --nosplash   print nothing but errors; print no first line
"""


#: Commands that send a signal.
_STOP = frozenset({"stop", "stopwait", "stop_verify", "restart", "kill"})
#: Commands that need options that the worker would accept.
_STARTS = frozenset({"start", "restart", "show"})
#: Commands whose output is read by other programs.
_PRINT = frozenset({"show", "names", "get", "expand"})
#: Commands with a word before the nodes, and an example of it.
_WITH_WORD = {"get": "w1", "expand": "%n.pid"}


class Command(BaseCommand):
    """Parses, calls, prints."""

    help = _ABOUT
    # The workers check the project. They have to be stopped whatever the checks say.
    requires_system_checks = []
    requires_migrations_checks = False
    _quiet = False

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Keep the lines of the help as they are."""
        parser = super().create_parser(prog_name, subcommand, epilog=_OPTIONS, **kwargs)
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        return parser

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the command, and all that follows it: the worker's parser says which options there are."""
        commands = sorted({*_STOP, *_STARTS, *_PRINT, "help"})
        parser.add_argument("command", nargs="?", default="help", choices=commands, metavar="command")
        parser.add_argument(
            "words", nargs=argparse.REMAINDER, metavar="...", help="nodes, and options of their workers"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Run one command; ``CommandError``, which is exit status 1, if it did not succeed for all nodes."""
        command, words = options["command"], options["words"]
        if command == "help" or {"-h", "--help"} & set(words):
            self.print_help("manage.py", "taskmulti")
            return
        if not hasattr(os, "fork"):
            raise CommandError(
                "taskmulti starts workers in the background, which this system can't do: it has no fork. "
                "Run manage.py taskworker under a service manager instead, once for each worker."
            )
        try:
            self._run(command, words)
        except ValueError as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            raise CommandError("Interrupted.", returncode=130) from None

    def _run(self, command: str, words: list[str]) -> None:
        word = ""
        if command in _WITH_WORD:
            if not words:
                raise ValueError(f"A word is missing, as in: taskmulti {command} {_WITH_WORD[command]} 3")
            word, *words = words
        line, cluster = self._read(command, words)
        if command not in _PRINT and "nosplash" not in line.own:
            self._say(f"taskmulti v{taskq.__version__}")
        if not self._do(command, word, line, cluster):
            raise CommandError("It did not succeed for all nodes.")

    def _do(self, command: str, word: str, line: CommandLine, cluster: Cluster) -> bool:
        if command in _WITH_WORD:
            getattr(cluster, command)(word)
        elif command in _PRINT:
            getattr(cluster, command)()
        elif command == "start":
            return cluster.start()
        elif command == "restart":
            return cluster.restart(line.signal or signal.SIGTERM)
        elif command == "kill":
            return cluster.stop(signal.SIGKILL, waits=True)
        else:
            return cluster.stop(line.signal or signal.SIGTERM, waits=command != "stop")
        return True

    def _read(self, command: str, words: Sequence[str]) -> tuple[CommandLine, Cluster]:
        """Read the words behind the command. Raises ``ValueError`` or ``CommandError`` for wrong ones."""
        from taskq.management.multi.cluster import Cluster
        from taskq.management.multi.starting import program

        worker_command = given_command(words, _DEFAULT_COMMAND)
        parser = _parser_of(worker_command)
        line = read(words, options_of(parser), stops=command in _STOP)
        self._quiet = "quiet" in line.own
        nodes = nodes_of(line, settings.NAMESPACE)
        if command in _STARTS:
            # A restart would stop workers that it can't start again.
            for node in nodes:
                parser.parse_args(node.arguments)
        for note in (*line.notes, *(["-A is not needed: manage.py has the project."] if "app" in line.own else [])):
            self.stderr.write(note)
        prefix = program(line.own.get("executable"), from_shell=getattr(self, "_called_from_command_line", False))
        return line, Cluster(nodes, prefix, worker_command, self._say, verbose="verbose" in line.own)

    def _say(self, text: str, /, *, end: str = "\n", is_error: bool = False) -> None:
        if is_error or not self._quiet:
            self.stdout.write(text, ending=end)
            self.stdout.flush()


def _parser_of(command: str) -> CommandParser:
    """Return the parser of the command that runs a worker."""
    words = shlex.split(command)
    if not words or words[0] not in get_commands():
        raise CommandError(f"--cmd: manage.py has no command {command!r}.")
    app = get_commands()[words[0]]
    found = load_command_class(app, words[0]) if isinstance(app, str) else app
    return found.create_parser("manage.py", words[0])
