"""Tables of text for terminals. Pure: it knows nothing of rows.

Names, ids and messages come from whoever sends tasks: what a terminal would obey is written as escapes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from taskq.log_escapes import escaped

_GAP = 2
#: The most columns that one cell takes if there is no other bound.
_WIDEST = 60
ELLIPSIS = "…"


def cell(value: object) -> str:
    """Return a value as one line that a terminal shows as it is."""
    return "" if value is None else escaped(str(value))


def cut(text: str, width: int) -> str:
    """Return a text of ``width`` columns at most; a longer one says that it is cut."""
    return text if len(text) <= width else text[: max(0, width - 1)] + ELLIPSIS


def table(names: Mapping[str, str], rows: Sequence[Mapping[str, Any]], width: int | None = None) -> list[str]:
    """Return a line of heads and one for each row: ``names`` has the heads of the columns by their keys.

    The last column gets what is left of ``width``, or is written whole.
    """
    cells = [[cell(row.get(key)) for key in names] for row in rows]
    *widths, _ = [min(_WIDEST, max(map(len, column))) for column in zip(names.values(), *cells, strict=True)]
    lines = []
    for row in ([*names.values()], *cells):
        *first, last = row
        start = "".join(cut(text, size).ljust(size + _GAP) for text, size in zip(first, widths, strict=True))
        lines.append((start + last).rstrip() if width is None else cut((start + last).rstrip(), width))
    return lines


def fields(values: Iterable[tuple[str, object]]) -> list[str]:
    """Return names and values below each other; values of several lines are indented, and empty ones left out."""
    lines = []
    for name, value in values:
        text = escaped(str(value), "\n\t") if value not in (None, "") else ""
        if "\n" in text:
            lines += [f"{name}:", *(f"    {line}" for line in text.splitlines())]
        elif text:
            lines.append(f"{name}: {text}")
    return lines
