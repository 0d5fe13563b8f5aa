"""What a report says about a file: pure functions, used by the task."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from typing import Any

#: Rows or lines that are read between two reports of progress.
PART = 50


class UnreadableFile(ValueError):
    """The file is not what its name promises. The message names the line."""


def summarise_csv(text: str) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Read a CSV file with a header; yield (rows done, rows in all, summary so far) after each part."""
    rows = list(csv.reader(io.StringIO(text)))
    if len(rows) < 2:
        raise UnreadableFile("a CSV file needs a header and at least one row")
    header, *body = rows
    columns: dict[str, list[float]] = {name: [] for name in header}
    for start in range(0, len(body), PART):
        for number, row in enumerate(body[start : start + PART], start=start + 2):
            _collect(columns, header, row, number)
        done = min(start + PART, len(body))
        yield done, len(body), {"rows": done, "columns": {name: _figures(values) for name, values in columns.items()}}


def summarise_text(text: str) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Read plain text; yield (lines done, lines in all, summary so far) after each part."""
    lines = text.splitlines()
    if not lines:
        raise UnreadableFile("the file is empty")
    words: Counter[str] = Counter()
    for start in range(0, len(lines), PART):
        for line in lines[start : start + PART]:
            words.update(word.strip(".,;:!?\"'()").lower() for word in line.split())
        done = min(start + PART, len(lines))
        yield done, len(lines), {"lines": done, "words": words.total(), "most_common": dict(words.most_common(5))}


def _collect(columns: dict[str, list[float]], header: list[str], row: list[str], number: int) -> None:
    if len(row) != len(header):
        raise UnreadableFile(f"line {number} has {len(row)} columns, the header has {len(header)}")
    for name, value in zip(header, row, strict=True):
        try:
            columns[name].append(float(value))
        except ValueError:
            continue


def _figures(values: list[float]) -> dict[str, float] | None:
    if not values:
        return None
    return {"least": min(values), "most": max(values), "mean": round(sum(values) / len(values), 3)}
