"""The seed of a test: it follows from its name, unless one is asked for."""

from __future__ import annotations

from random import Random

import pytest

from tests.support.seeds import VARIABLE, seed_of

NAME = "tests/faults/test_kills.py::test_x[sqlite]"


@pytest.fixture(autouse=True)
def none_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


def test_a_name_has_one_seed_in_every_process() -> None:
    assert seed_of(NAME) == 961647265
    assert seed_of(NAME.replace("sqlite", "mariadb")) == 1876442034


def test_the_seed_that_is_asked_for_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "123")
    assert seed_of(NAME) == seed_of("another") == 123


def test_the_dice_of_a_test_fall_as_its_name_says(request: pytest.FixtureRequest) -> None:
    # Asked for like this it doesn't count as a test that throws dice.
    dice: Random = request.getfixturevalue("dice")
    assert dice.random() == Random(seed_of(request.node.nodeid)).random()
