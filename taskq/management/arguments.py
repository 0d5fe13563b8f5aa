"""Types of the commands' arguments: each converts a text, or raises ``ArgumentTypeError``."""

from __future__ import annotations

import json
import os
from argparse import ArgumentTypeError
from typing import Any

from taskq import value_kinds as kinds

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
#: ``processes`` is Celery's other name of ``prefork``.
POOLS = ("prefork", "threads", "solo", "asyncio", "gevent", "eventlet", "custom", "processes")


def level(text: str) -> str:
    """Return the name of a log level."""
    if text.upper() not in LEVELS:
        raise ArgumentTypeError(f"{text!r} is not one of {', '.join(LEVELS)}")
    return text.upper()


def cpus() -> int:
    """Return how many CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def concurrency(text: str) -> int:
    """Return a number from 1; ``auto`` is the number of CPUs."""
    if text == "auto":
        return cpus()
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not a number from 1, or auto")
    return int(text)


def count(text: str) -> int:
    """Return a number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not a number from 1")
    return int(text)


def whole(text: str) -> int:
    """Return a number from 0."""
    if not text.isdecimal():
        raise ArgumentTypeError(f"{text!r} is not a number from 0")
    return int(text)


def seconds(text: str) -> float:
    """Return a number above 0 that any timer can take."""
    try:
        return kinds.LIMIT.convert(float(text))
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not {kinds.LIMIT.words}") from None


def autoscale(text: str) -> tuple[int, int]:
    """Return the most and the fewest slots of a pool: ``10,3``, or ``10``, which is ``10,1``."""
    try:
        return kinds.AUTOSCALE.convert(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not two numbers such as 10,3: the most, the fewest") from None


def names(text: str) -> list[str]:
    """Return names that have commas between them, at least one."""
    found = [name for part in text.split(",") if (name := part.strip())]
    if not found:
        raise ArgumentTypeError(f"{text!r} names nothing")
    return found


def umask(text: str) -> int:
    """Return a file mode mask, from its octal digits."""
    try:
        value = int(text, 8)
    except ValueError:
        value = -1
    if not 0 <= value <= 0o777:
        raise ArgumentTypeError(f"{text!r} is not a mask like 022")
    return value


def json_list(text: str) -> list[Any]:
    """Return a list, from JSON."""
    value = _json(text)
    if not isinstance(value, list):
        raise ArgumentTypeError(f"{text!r:.300} is not a list in JSON, such as [2, 2]")
    return value


def json_object(text: str) -> dict[str, Any]:
    """Return a dictionary, from an object in JSON."""
    value = _json(text)
    if not isinstance(value, dict):
        raise ArgumentTypeError(f"{text!r:.300} is not an object in JSON, such as " + '{"x": 2}')
    return value


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ArgumentTypeError(f"{text!r:.300} is not JSON: {error}") from None


def seconds_or_time(text: str) -> float | str:
    """Return a number of seconds, or the text: a time, which whoever takes it reads."""
    try:
        return float(text)
    except ValueError:
        return text
