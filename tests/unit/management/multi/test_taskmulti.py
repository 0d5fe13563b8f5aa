"""``manage.py taskmulti`` as far as it starts and signals nothing."""

from __future__ import annotations

import os
import sys
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from taskq.management.multi import starting
from taskq.worker.process.nodenames import hostname

HOST = hostname()


def multi(*words: str) -> str:
    output = StringIO()
    call_command("taskmulti", *words, stdout=output, stderr=output)
    return output.getvalue()


def test_names_are_printed_in_full() -> None:
    assert multi("names", "w1", "w2@a") == f"w1@{HOST}\nw2@a\n"


def test_show_prints_command_lines_for_a_shell() -> None:
    program = f"{sys.executable} -m django taskworker --detach"
    assert multi("show", "w1@a", "--pidfile=/run/a b/%n.pid", "-c:1", "2", "--", "--no-color") == (
        f"{program} -n w1@a '--pidfile=/run/a b/w1.pid' --logfile=w1%I.log -c 2 --no-color\n"
    )
    assert multi("show", "1", "--executable=py", "--cmd=taskworker -D -q").startswith(
        "py -m django taskworker -D -q -n "
    )


def test_get_prints_the_arguments_of_one_node() -> None:
    expected = f"-n taskq2@{HOST} --pidfile=taskq2.pid --logfile=taskq2%I.log -c 5\n"
    assert multi("get", "taskq2", "3", "-c:2", "5") == expected
    assert multi("get", f"taskq2@{HOST}", "3", "-c:2", "5") == expected


def test_expand_prints_the_text_of_each_node() -> None:
    assert multi("expand", "%n%I.log", "w1", "w2") == "w1%I.log\nw2%I.log\n"


@pytest.mark.parametrize("words", [["help"], [], ["start", "--help"], ["stop", "w1", "-h"]])
def test_help_lists_the_commands(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    multi(*words)
    assert "restart NODES" in capsys.readouterr().out


def test_app_of_celery_is_not_needed() -> None:
    assert "-A is not needed" in multi("names", "w1", "-A", "proj")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["restart", "w1", "-c", "0"], "is not a number from 1"),
        (["restart", "w1", "--no-such"], "--no-such is no option"),
        (["start", "w1", "--cmd=nothing"], "--cmd: manage.py has no command 'nothing'"),
        (["start", "w1", "--cmd="], "--cmd: manage.py has no command ''"),
        (["start"], "No node is named"),
        (["expand"], "A word is missing, as in: taskmulti expand %n.pid 3"),
        (["get", "w3", "w1"], "There is no node 'w3'"),
        (["begin", "w1"], "invalid choice: 'begin'"),
    ],
)
def test_wrong_command_line_is_refused_before_anything_is_done(words: list[str], said: str) -> None:
    with pytest.raises(CommandError, match=said):
        multi(*words)


def test_system_without_fork_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "fork")
    with pytest.raises(CommandError, match="it has no fork"):
        multi("start", "w1")


@pytest.mark.parametrize(
    ("orig_argv", "argv", "expected"),
    [
        (["python", "manage.py", "taskmulti", "start"], ["manage.py", "taskmulti", "start"], ["manage.py"]),
        (
            ["python", "-X", "dev", "manage.py", "taskmulti"],
            ["manage.py", "taskmulti"],
            ["-X", "dev", "manage.py"],
        ),
        (
            ["python", "-m", "django", "taskmulti", "names", "w1"],
            ["/lib/django/__main__.py", "taskmulti", "names", "w1"],
            ["-m", "django"],
        ),
    ],
)
def test_workers_are_started_as_this_process_was(
    orig_argv: list[str], argv: list[str], expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "orig_argv", orig_argv)
    monkeypatch.setattr(sys, "argv", argv)
    assert starting.program(None, from_shell=True) == [sys.executable, *expected]
    assert starting.program("/usr/bin/python3", from_shell=True)[0] == "/usr/bin/python3"
