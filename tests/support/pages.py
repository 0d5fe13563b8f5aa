"""Pages of the documentation: their fenced blocks of code, and outputs as a page prints them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^( *)(?:```(\w+)\n(.*?)^\1```|<!-- (unseen)\n(.*?)^-->)$", re.MULTILINE | re.DOTALL)
#: What differs from run to run: times, names of nodes, ids, processes, durations, and how far a report is.
_VOLATILE = re.compile(
    r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3})|(?<=taskq@)(laptop)|([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
    r'|(?<=INFO/child )(\d+)|(\d+\.\d+)(?=s\b)|(?<="done": )(\d+)'
)
_ANY_OF_IT = (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}", r"\S+", r"[0-9a-f-]{36}", r"\d+", r"[\d.e-]+", r"\d+")
_LEFT_OUT = "..."


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: its language, its text, and the line of the page on which the text begins.

    The language ``unseen`` is that of comments ``<!-- unseen``: Python that readers do not see.
    """

    language: str
    text: str
    line: int


@dataclass(frozen=True)
class Typed:
    """A command, or a statement, and the output that the page prints below it."""

    text: str
    output: str
    line: int


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page in order."""
    text = page.read_text()
    found = []
    for match in _FENCE.finditer(text):
        indent = match[1]
        language, code = match[2] or match[4], match[3] or match[5]
        lines = [line.removeprefix(indent) for line in code.splitlines(keepends=True)]
        found.append(Block(language, "".join(lines), text.count("\n", 0, match.start()) + 2))
    return found


def typed(block: Block, prompts: tuple[str, ...], more: str = "... ") -> Iterator[Typed]:
    """Split a block into the lines that are typed after a prompt, each with its output."""
    command: list[str] = []
    output: list[str] = []
    start = block.line
    for number, line in enumerate(block.text.splitlines(), start=block.line):
        prompt = next((prompt for prompt in prompts if line.startswith(prompt)), None)
        if prompt is not None:
            if command:
                yield Typed("\n".join(command), "\n".join(output), start)
            command, output, start = [line.removeprefix(prompt) or line], [], number
        elif (
            more
            and command
            and not output
            and (line.startswith(more) or line == more.rstrip())
            and prompts == (">>> ",)
        ):
            command.append(line[len(more) :])
        else:
            output.append(line)
    if command:
        yield Typed("\n".join(command), "\n".join(output), start)


def pattern(printed: str) -> re.Pattern[str]:
    """Return a pattern for an output as a page prints it: ``...`` is any text, and ids, times and the like differ."""
    lines = printed.split("\n")
    parts = []
    for line in lines:
        if line.strip() == _LEFT_OUT:
            parts.append(r"(?:.*\n)*?")
        else:
            parts.append(_line(line) + (r"[ \t]*\n"))
    return re.compile("".join(parts))


def _line(line: str) -> str:
    done, parts = 0, []
    for match in _VOLATILE.finditer(line):
        parts += [re.escape(line[done : match.start()]), _ANY_OF_IT[(match.lastindex or 1) - 1]]
        done = match.end()
    return "".join([*parts, re.escape(line[done:])])
