"""What the commands make of the texts that they are given."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Callable

import pytest

from taskq.management import arguments


def test_seconds_are_read_as_a_number() -> None:
    assert arguments.seconds("2.5") == 2.5


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "3e9", "x"])
def test_seconds_that_no_timer_can_take_are_refused(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="is not a number of seconds above 0, 2147483647 at most"):
        arguments.seconds(text)


@pytest.mark.parametrize(
    ("text", "limits"), [("10,3", (10, 3)), ("3,10", (10, 3)), ("10", (10, 1)), ("10,0", (10, 1)), (" 4 , 4", (4, 4))]
)
def test_limits_of_autoscaling_are_the_most_and_the_fewest(text: str, limits: tuple[int, int]) -> None:
    assert arguments.autoscale(text) == limits


@pytest.mark.parametrize("text", ["", "0", "0,0", "a", "3,", "-1,3", "1,2,3", "2.5"])
def test_limits_of_autoscaling_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="is not two numbers such as 10,3"):
        arguments.autoscale(text)


def test_lists_and_objects_are_read_from_json() -> None:
    assert arguments.json_list("[2, [3]]") == [2, [3]]
    assert arguments.json_object('{"x": 2}') == {"x": 2}


@pytest.mark.parametrize(
    ("read", "text", "words"),
    [
        (arguments.json_list, '{"x": 2}', "is not a list in JSON"),
        (arguments.json_object, "[2]", "is not an object in JSON"),
        (arguments.json_list, "[2", "is not JSON"),
        (arguments.json_object, "[" * 100_000, "is not JSON"),
        (arguments.names, " , ", "names nothing"),
        (arguments.umask, "1000", "is not a mask like 022"),
        (arguments.umask, "9", "is not a mask like 022"),
    ],
)
def test_texts_of_another_kind_are_refused(read: Callable[[str], object], text: str, words: str) -> None:
    with pytest.raises(ArgumentTypeError, match=words):
        read(text)


def test_names_have_commas_between_them_and_a_mask_is_octal() -> None:
    assert arguments.names("a, b,,c") == ["a", "b", "c"]
    assert arguments.umask("027") == 0o27
