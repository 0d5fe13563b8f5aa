"""A frozen signature is one task: a second sending of it within a workflow is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from taskq import chord, group, states
from taskq.exceptions import ChordError
from tests.support.jobs.flows import add, becomes, brings, brings_twice, same
from tests.support.stores import on_every_store

from .conftest import Run

pytestmark = on_every_store


def _frozen(sig: Any) -> Any:
    sig.freeze()
    return sig


FROZEN = [lambda: _frozen(add.s(3, 4)), lambda: _frozen(group(add.s(3, 4), add.s(5, 6)))]


@pytest.mark.parametrize("frozen", FROZEN)
def test_a_frozen_signature_joins_a_chord_once(run: Run, frozen: Callable[[], Any]) -> None:
    result = run(chord([brings.s(frozen())], same.s()))
    assert result.result in ([[0, 7]], [[0, [7, 11]]])


@pytest.mark.parametrize("frozen", FROZEN)
def test_a_second_add_to_chord_of_one_run_is_refused(run: Run, frozen: Callable[[], Any]) -> None:
    result = run(chord([brings_twice.s(1, frozen())], same.s()))
    assert result.state == states.FAILURE
    assert isinstance(result.result, ChordError)
    assert "was added before" in str(result.result)


@pytest.mark.parametrize("frozen", FROZEN)
def test_a_signature_that_another_member_has_added_is_refused(run: Run, frozen: Callable[[], Any]) -> None:
    sig = frozen()
    result = run(chord([brings.s(sig), brings.s(sig)], same.s()))
    assert result.state == states.FAILURE
    assert "was sent before, and one id is one task" in str(result.result)


def test_two_tasks_that_replace_themselves_by_one_frozen_canvas_end(run: Run) -> None:
    sig = _frozen(add.s(3, 4) | add.s(5) | add.s(6))
    result = run(group(becomes.s(sig), becomes.s(sig)))
    first, second = result.results
    assert sorted([first.state, second.state]) == [states.FAILURE, states.SUCCESS]
    failed = first if first.state == states.FAILURE else second
    assert "was sent before, and one id is one task" in str(failed.result)
