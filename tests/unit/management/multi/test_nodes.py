"""The nodes of a command line: their names, and each one's arguments."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from taskq.management.multi.command_line import read
from taskq.management.multi.nodes import Node, expand_for, nodes_of
from taskq.worker.process.nodenames import hostname

from .test_command_line import OPTIONS

HOST = hostname()


def nodes(text: str) -> list[Node]:
    return nodes_of(read(shlex.split(text), OPTIONS), "taskq")


def names(text: str) -> list[str]:
    return [node.name for node in nodes(text)]


def values(text: str, dest: str) -> list[str | None]:
    """Return the value of an option for each node; ``-`` if a node does not have it."""
    return [node.options[dest].value if dest in node.options else "-" for node in nodes(text)]


def test_guide_example() -> None:
    text = "10 -l info -Q:1-3 images,video -Q:4,5 data -Q default -L:4,5 debug"
    assert values(text, "queues") == ["images,video"] * 3 + ["data"] * 2 + ["default"] * 5
    assert values(text, "loglevel") == ["info"] * 3 + ["debug"] * 2 + ["info"] * 5
    assert names(text) == [f"taskq{number}@{HOST}" for number in range(1, 11)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("w1 w2", [f"w1@{HOST}", f"w2@{HOST}"]),
        ("w1@a w1@b --pidfile=%p.pid", ["w1@a", "w1@b"]),
        ("foo@%h", [f"foo@{HOST}"]),
        ("2 -n example.com", ["taskq1@example.com", "taskq2@example.com"]),
        ("w1@a w2 --hostname=b", ["w1@a", "w2@b"]),
        ("2 --range-prefix=w", [f"w1@{HOST}", f"w2@{HOST}"]),
        ("a b --prefix=w-", [f"w-a@{HOST}", f"w-b@{HOST}"]),
        ("1 2", [f"1@{HOST}", f"2@{HOST}"]),
    ],
)
def test_names(text: str, expected: list[str]) -> None:
    assert names(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3 -c 3 -c:1 10", ["10", "3", "3"]),
        ("3 -c:2-3 10", ["-", "10", "10"]),
        ("5 -c:1,3-4 10", ["10", "-", "10", "10", "-"]),
        ("3 -c:taskq2 10", ["-", "10", "-"]),
        ("image video data -c 3 -c:image 10", ["10", "3", "3"]),
        ("image video data -c:image,data 10", ["10", "-", "10"]),
        ("image video data -c:2-3 10", ["-", "10", "10"]),
        ("w1@a w1@b -c:w1@b 10 --pidfile=%p.pid", ["-", "10"]),
        ("w1@a w1@b -c:w1 10 --pidfile=%p.pid", ["10", "10"]),
        ("w-1 w-2 -c:w-2 10", ["-", "10"]),
        ("2 1 -c:1 10", ["-", "10"]),
        ("2 -c:1 10 -c 3", ["10", "3"]),
        ("2 -c:1 10 -c:1-2 4", ["4", "4"]),
    ],
)
def test_options_of_some_nodes(text: str, expected: list[str]) -> None:
    assert values(text, "concurrency") == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "No node is named"),
        ("0", "No node is named"),
        ("3 -c:0 1", "'0': the numbers of the nodes are 1 to 3"),
        ("3 -c:4 1", "'4': the numbers of the nodes are 1 to 3"),
        ("3 -c:2-4 1", "'2-4': the numbers"),
        ("3 -c:2-1 1", "'2-1': the numbers"),
        ("a b -c:d 1", "There is no node 'd'"),
        ("a@b@c", "is not the name of a node"),
        ("a a", f"2 nodes have the name a@{HOST}"),
        ("2 --pidfile=w.pid", r"2 nodes have the pid file .*/w\.pid"),
        ("w1@a w1@b", "2 nodes have the pid file"),
    ],
)
def test_wrong_nodes_are_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        nodes(text)


def test_arguments_are_those_of_the_worker() -> None:
    (node,) = nodes("w1 -Q a --time-limit=5 --disable-prefetch --append='--umask 022' -- --force-color")
    assert shlex.join(node.arguments) == (
        f"-n w1@{HOST} --pidfile=w1.pid --logfile=w1%I.log -Q a --time-limit=5 --disable-prefetch "
        "--umask 022 --force-color"
    )


def test_names_are_expanded_in_values() -> None:
    assert values("w1@a.b -Q %n,%p,%h,%d,%%,%x", "queues") == ["w1,w1@a.b,a.b,b,%,%x"]
    assert values("w1 -b django://%n", "broker") == ["django://%n"]
    # The worker expands these again.
    assert values("w1 -f %n%I-%i-%%.log", "logfile") == ["w1%I-%i-%%.log"]


@pytest.mark.parametrize(
    ("template", "expected"),
    [("%n%I.log", "w1%I.log"), ("%%I", "%I"), ("%i%%n", "%i%n"), ("%p", "w1@a"), ("%N%%N", "w1%N")],
)
def test_number_of_the_process_is_left_to_the_worker(template: str, expected: str) -> None:
    assert expand_for("w1@a", template) == expected


@pytest.mark.parametrize(
    ("template", "kept"), [("%%n", "%%n"), ("%%N", "%%N"), ("%n%%.log", "w1%%.log"), ("%i%%I", "%i%%I")]
)
def test_what_the_worker_expands_once_more_is_kept_for_it(template: str, kept: str) -> None:
    assert expand_for("w1@a", template, "iI%") == kept


def test_files_are_found_as_the_worker_finds_them(tmp_path: Path) -> None:
    (node,) = nodes("w1@a.b")
    assert (node.pidfile, node.logfile) == (Path.cwd() / "w1.pid", Path.cwd() / "w1.log")
    (node,) = nodes("w1 --pidfile=~/%n.pid")
    assert node.pidfile == Path.home() / "w1.pid"
    assert f"--pidfile={node.pidfile}" in node.arguments
    (node,) = nodes(f"w1 --workdir={tmp_path} --pidfile=run/%n.pid -f /var/log/%n%I.log")
    assert (node.pidfile, node.logfile) == (tmp_path / "run/w1.pid", Path("/var/log/w1.log"))
