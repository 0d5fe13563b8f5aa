"""The command line of ``taskmulti``: which words are nodes, and which are options of whom."""

from __future__ import annotations

import signal

import pytest
from django.core.management import load_command_class

from taskq.management.multi.command_line import CommandLine, given_command, options_of, read, signal_of

OPTIONS = options_of(load_command_class("taskq", "taskworker").create_parser("manage.py", "taskworker"))


def line(text: str, *, stops: bool = False) -> CommandLine:
    return read(text.split(), OPTIONS, stops=stops)


def for_all(text: str) -> list[tuple[str, str, str | None]]:
    return [(given.option.dest, given.spelled, given.value) for given in line(text).for_all]


def for_some(text: str) -> list[tuple[str, str, str | None]]:
    return [(where, given.option.dest, given.value) for where, given in line(text).for_some]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-l info", ("loglevel", "-l", "info")),
        ("-linfo", ("loglevel", "-l", "info")),
        ("-l=info", ("loglevel", "-l", "info")),
        ("-L info", ("loglevel", "-L", "info")),
        ("--loglevel info", ("loglevel", "--loglevel", "info")),
        ("--loglevel=info", ("loglevel", "--loglevel", "info")),
        ("--pidfile=/run/%n=1:2.pid", ("pidfile", "--pidfile", "/run/%n=1:2.pid")),
        ("--disable-prefetch", ("disable_prefetch", "--disable-prefetch", None)),
    ],
)
def test_option_for_all_in_any_spelling(text: str, expected: tuple[str, str, str | None]) -> None:
    assert for_all(text) == [expected]
    assert line(f"w1 {text} w2").names == ["w1", "w2"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-Q:1-3 a,b", ("1-3", "queues", "a,b")),
        ("-Q:1-3=a,b", ("1-3", "queues", "a,b")),
        ("--queues:w1,w2=a", ("w1,w2", "queues", "a")),
        ("--queues:w1@host a", ("w1@host", "queues", "a")),
        ("--disable-prefetch:2", ("2", "disable_prefetch", None)),
    ],
)
def test_option_for_some_in_any_spelling(text: str, expected: tuple[str, str, str | None]) -> None:
    assert for_some(text) == [expected]


def test_flag_takes_no_node_for_its_value() -> None:
    assert line("--disable-prefetch w1").names == ["w1"]
    assert line("--traceback w1 -q w2").names == ["w1", "w2"]


def test_flags_in_one_word_are_several_options() -> None:
    found = line("w1 -qlinfo")
    assert found.own == {"quiet": ""}
    assert [given.value for given in found.for_all] == ["info"]


def test_own_options_are_not_the_workers() -> None:
    found = line("w1 -n example.com --executable /usr/bin/python3 -A proj --verbose --append=-E")
    assert found.own == {
        "suffix": "example.com",
        "executable": "/usr/bin/python3",
        "app": "proj",
        "verbose": "",
        "append": "-E",
    }
    assert not found.for_all


def test_words_behind_two_dashes_are_passed_on() -> None:
    found = line("w1 -- -x --y z")
    assert (found.names, found.rest) == (["w1"], ["-x", "--y", "z"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("--no-such w1", "--no-such is no option"),
        ("-Z w1", "-Z is no option"),
        ("-w1", "The name of a node has no dash"),
        ("-D w1", "-D is no option"),
        ("w1 -l", "-l needs a value"),
        ("w1 -l -c 3", "-l needs a value"),
        ("w1 --disable-prefetch=1", "takes no value"),
        ("w1 --cmd:1 x", "for all nodes: it takes no selection"),
    ],
)
def test_wrong_option_is_named(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        line(text)


@pytest.mark.parametrize("word", ["-9", "-KILL", "-SIGKILL"])
def test_signal_is_named_by_number_or_name(word: str) -> None:
    assert signal_of(word) == signal.SIGKILL
    found = line(f"w1 {word}", stops=True)
    assert (found.names, found.signal) == (["w1"], signal.SIGKILL)


@pytest.mark.parametrize("word", ["-Q", "-999", "-NOSUCH", "9", "KILL", "--9", "-"])
def test_other_words_are_no_signals(word: str) -> None:
    assert signal_of(word) is None


def test_node_with_a_dash_is_understood_where_the_guide_has_it() -> None:
    found = line("-w1 -l info", stops=True)
    assert found.names == ["w1"]
    assert found.notes == ["-w1 is no option: it is taken for the node w1."]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("w1", "default"),
        ("w1 --cmd=work", "work"),
        ("w1 --cmd work w2", "work"),
        ("w1 -- --cmd=work", "default"),
    ],
)
def test_command_is_found_before_its_options_are_known(text: str, expected: str) -> None:
    assert given_command(text.split(), "default") == expected
