"""Tasks of workflows, and what follows from their outcomes."""

from __future__ import annotations

from typing import Any

from taskq import task
from taskq.handover import Outcome
from taskq.messages.protocol import decode_body
from taskq.records import Envelope, Unreachable


@task
def add(x: int, y: int) -> int:
    return x + y


@task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@task
def boom(*args: Any) -> None:
    raise ValueError("boom")


@task(bind=True)
def again(self: Any, value: int) -> int:
    raise self.retry(countdown=0)


def follow_ups(outcome: Outcome) -> list[Envelope]:
    return list(outcome.follow_ups.envelopes)


def call_of(envelope: Envelope) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    """Arguments, keyword arguments and what is to follow."""
    return decode_body(
        envelope.body, envelope.content_type, envelope.content_encoding, envelope.headers, envelope.properties
    )


def dependents(outcome: Outcome) -> list[Unreachable]:
    return list(outcome.follow_ups.unreachable)
