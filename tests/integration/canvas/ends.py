"""How tasks of a running worker have ended, and what they have noted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from taskq import AsyncResult
from tests.support.waiting import wait_until

SECONDS = 30.0


def get(result: Any) -> Any:
    return result.get(timeout=SECONDS)


def failure(result: Any) -> BaseException:
    """Wait for the end of a task that fails, and return its own exception."""
    wait_until(lambda: AsyncResult(result.id).ready(), SECONDS, what=f"the end of {result.id}")
    own = AsyncResult[Any](result.id)
    assert own.state in ("FAILURE", "REVOKED"), own.state
    assert isinstance(own.result, BaseException)
    return own.result


def lines_of(path: Path, part: str) -> list[str]:
    """Return the notes with ``part`` in them, without time and process."""
    return [line.rsplit(" ", 2)[0] for line in path.read_text().splitlines() if part in line]
