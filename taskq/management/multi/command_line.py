"""The command line of ``taskmulti``, read into nodes, options for all of them, and options for some of them.

Which options there are, and which of them take a value, is said by the worker's own parser: so ``-E w1`` is a flag and
a node, and a misspelt option is an error before anything is started or stopped.
"""

from __future__ import annotations

import signal
from argparse import ArgumentParser
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Option:
    """An option: the name of its value, and whether it takes one."""

    dest: str
    takes_value: bool = True


@dataclass(frozen=True, slots=True)
class Given:
    """An option as it was given: ``spelled`` is one of its names; ``value`` is ``None`` for a flag."""

    option: Option
    spelled: str
    value: str | None = None

    def words(self, value: str | None) -> list[str]:
        """Return the words of a command line that give the option another value."""
        if value is None:
            return [self.spelled]
        return [f"{self.spelled}={value}"] if self.spelled.startswith("--") else [self.spelled, value]


@dataclass(slots=True)
class CommandLine:
    """What was asked for. ``for_some`` are pairs of a selection, as in ``-Q:1-3``, and the option."""

    names: list[str] = field(default_factory=list)
    for_all: list[Given] = field(default_factory=list)
    for_some: list[tuple[str, Given]] = field(default_factory=list)
    #: Values of the options of ``taskmulti`` itself.
    own: dict[str, str] = field(default_factory=dict)
    #: The words behind ``--``.
    rest: list[str] = field(default_factory=list)
    signal: signal.Signals | None = None
    notes: list[str] = field(default_factory=list)


#: The options of ``taskmulti``. They hide those of the worker with the same names.
OWN = {
    "-n": Option("suffix"),
    "--hostname": Option("suffix"),
    "--suffix": Option("suffix"),
    "--prefix": Option("prefix"),
    "--range-prefix": Option("range_prefix"),
    "--cmd": Option("cmd"),
    "--append": Option("append"),
    "--executable": Option("executable"),
    "--nosplash": Option("nosplash", False),
    "-q": Option("quiet", False),
    "--quiet": Option("quiet", False),
    "--verbose": Option("verbose", False),
    "-A": Option("app"),
    "--app": Option("app"),
}
_OWN_DESTS = frozenset(option.dest for option in OWN.values())
#: The worker's options that are not for its nodes.
_NOT_PASSED = frozenset({"help", "version", "detach"})


def options_of(parser: ArgumentParser) -> dict[str, Option]:
    """Return the options that nodes can be given, by each of their names, from the worker's parser; and our own."""
    passed = [action for action in parser._actions if action.dest not in _NOT_PASSED]
    found = {name: Option(action.dest, action.nargs != 0) for action in passed for name in action.option_strings}
    return {**found, **OWN}


def read(words: Iterable[str], options: Mapping[str, Option], *, stops: bool = False) -> CommandLine:
    """Read the words behind the command. ``stops``: the command sends a signal, which may be named, as in ``-KILL``.

    Raises ``ValueError`` that names the option that is unknown, or that lacks its value.
    """
    return _Reader(words, options, stops).read()


def given_command(words: Sequence[str], default: str) -> str:
    """Return the value of ``--cmd``: its parser says which other options there are."""
    for word, following in pairwise((*words, "")):
        if word == "--":
            break
        if word == "--cmd" or word.startswith("--cmd="):
            return word.partition("=")[2] or following
    return default


def signal_of(word: str) -> signal.Signals | None:
    """Return the signal of ``-9``, ``-KILL`` or ``-SIGKILL``; ``None`` for any other word."""
    name = word[1:].removeprefix("SIG")
    if not word.startswith("-") or not name.isalnum():
        return None
    try:
        return signal.Signals(int(name)) if name.isdecimal() else signal.Signals[f"SIG{name}"]
    except (KeyError, ValueError):
        return None


class _Reader:
    def __init__(self, words: Iterable[str], options: Mapping[str, Option], stops: bool) -> None:
        self._words = deque(words)
        self._options = options
        self._stops = stops
        self._line = CommandLine()

    def read(self) -> CommandLine:
        while self._words:
            word = self._words.popleft()
            if word == "--":
                self._line.rest += self._words
                break
            self._read(word)
        return self._line

    def _read(self, word: str) -> None:
        if self._stops and (number := signal_of(word)):
            self._line.signal = number
        elif word.startswith("--"):
            self._read_long(word)
        elif word.startswith("-"):
            self._read_short(word)
        elif word:
            self._line.names.append(word)

    def _read_long(self, word: str) -> None:
        spelled, equals, value = word.partition("=")
        spelled, _, where = spelled.partition(":")
        self._add(spelled, where, value if equals else None)

    def _read_short(self, word: str) -> None:
        """Read ``-Q:1-3 a``, ``-Q:1-3=a``, ``-Q a``, ``-Qa``, ``-E``, or several flags in one word."""
        spelled, rest = word[:2], word[2:]
        option = self._options.get(spelled)
        if option is None and self._stops:
            # The guide stops the node w1 by -w1.
            self._line.names.append(word[1:])
            self._line.notes.append(f"{word} is no option: it is taken for the node {word[1:]}.")
        elif rest.startswith(":"):
            where, equals, value = rest[1:].partition("=")
            self._add(spelled, where, value if equals else None)
        elif option is None or option.takes_value:
            self._add(spelled, "", rest.removeprefix("=") or None)
        else:
            self._add(spelled, "", None)
            if rest:
                self._read_short(f"-{rest}")

    def _add(self, spelled: str, where: str, value: str | None) -> None:
        option = self._options.get(spelled)
        if option is None:
            raise ValueError(f"{spelled} is no option of the worker or of taskmulti. The name of a node has no dash.")
        if option.takes_value:
            value = self._next(spelled) if value is None else value
        elif value is not None:
            raise ValueError(f"{spelled} takes no value.")
        if option.dest in _OWN_DESTS:
            if where:
                raise ValueError(f"{spelled} is for all nodes: it takes no selection such as :{where}.")
            self._line.own[option.dest] = value or ""
        elif where:
            self._line.for_some.append((where, Given(option, spelled, value)))
        else:
            self._line.for_all.append(Given(option, spelled, value))

    def _next(self, spelled: str) -> str:
        if not self._words or self._words[0].startswith("-"):
            raise ValueError(f"{spelled} needs a value.")
        return self._words.popleft()
