"""What tasks tell a test by notes in a file: see ``tests.support.jobs.notes``."""

from __future__ import annotations

from pathlib import Path

from .waiting import wait_until


def told(notes: Path) -> list[str]:
    """Return what was noted, without times and processes."""
    return [line.split()[0] for line in notes.read_text().splitlines()]


def started(notes: Path, count: int = 1) -> None:
    """Wait until so many notes are there."""
    wait_until(lambda: len(told(notes)) >= count, what=f"{count} to start")
