"""Follow-ups in parts: how much is in each."""

from __future__ import annotations

import pytest

from taskq.records import FollowUps
from taskq.workflows import parts
from tests.support.envelopes import envelope


def counts(*bodies: str, arguments: str | None = None) -> list[int]:
    """Return how many messages are in each part."""
    kept: dict[str, str] = {}
    found = FollowUps([envelope(body=body, arguments=arguments) for body in bodies])
    key = parts.sent_in_parts(found, "name", "root", kept.__setitem__).key
    read = []
    while key:
        follow_ups, key = parts.read_part(kept[key])
        read.append(len(follow_ups.envelopes))
    assert len(read) == len(kept)
    return read


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "AT_ONCE", 10)
    monkeypatch.setattr(parts, "_MESSAGES", 3)


@pytest.mark.parametrize(
    ("bodies", "expected"),
    [
        ([""] * 3, [3]),
        ([""] * 7, [3, 3, 1]),
        (["x" * 5] * 4, [2, 2]),
        (["x" * 5, "x" * 6, "x"], [1, 2]),
        (["x" * 100, "x", "x" * 100], [1, 1, 1]),
    ],
    ids=["few", "many", "full", "over", "single ones"],
)
def test_part_has_as_many_messages_and_characters_as_one_transaction_writes(
    bodies: list[str], expected: list[int]
) -> None:
    assert counts(*bodies) == expected


def test_arguments_that_the_run_shows_are_written_too() -> None:
    assert counts("x", "x", arguments="x" * 9) == [1, 1]


@pytest.mark.parametrize(
    ("count", "size", "large"), [(1, 100, False), (2, 5, False), (2, 6, True), (3, 1, False), (4, 1, True)]
)
def test_large_follow_ups(monkeypatch: pytest.MonkeyPatch, count: int, size: int, large: bool) -> None:
    """A single message is in one part however large it is."""
    monkeypatch.setattr(parts, "MOST_CHARACTERS", 10)
    monkeypatch.setattr(parts, "MOST_MESSAGES", 3)
    assert parts.is_large(FollowUps([envelope(body="x" * size) for _ in range(count)])) is large
