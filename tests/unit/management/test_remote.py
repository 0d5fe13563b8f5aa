"""``taskcontrol``, ``taskinspect`` and ``taskstatus`` here: without a worker, and with replies of strangers."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError

from taskq import send_task
from taskq.management import remote
from taskq.models import Revocation, ScheduledMessage
from testproject.arithmetic.tasks import add

pytestmark = pytest.mark.django_db(transaction=True)


def run(*words: str) -> str:
    out = StringIO()
    call_command(*words, "-t", "0.1", stdout=out)
    return out.getvalue()


NOBODY = "No nodes replied within time constraint: workers have it from the database.\n"


@pytest.mark.parametrize("words", [["revoke"], ["terminate", "TERM"]])
def test_ids_are_revoked_without_a_worker(words: list[str]) -> None:
    one, two = add.delay(2, 2), add.delay(2, 2)
    out = run("taskcontrol", *words, one.id, two.id, "not sent yet")
    assert out == f"2 tasks revoked in the database, or asked for in a worker.\n{NOBODY}"
    assert (one.state, two.state) == ("REVOKED", "REVOKED")
    assert Revocation.objects.get().revoked_id == "not sent yet"


def test_tasks_of_a_name_are_revoked_without_a_worker() -> None:
    named, other = send_task("reports.weekly", (), countdown=600), add.apply_async((2, 2), countdown=600)
    assert run("taskcontrol", "revoke_by_name", "reports.*", "-d", "nobody@here") == (
        f"1 task revoked in the database, or asked for in a worker.\n{NOBODY}"
    )
    assert (named.state, other.state) == ("REVOKED", "PENDING")


def test_tasks_with_a_stamp_are_revoked_without_a_worker() -> None:
    result = add.apply_async((2, 2), countdown=600, stamped_headers=['or"der'], **{'or"der': "7"})
    assert run("taskcontrol", "revoke_by_stamped_headers", 'or"der=8').startswith("0 tasks")
    assert run("taskcontrol", "revoke_by_stamped_headers", 'or"der=7').startswith("1 task ")
    assert result.state == "REVOKED"
    assert not ScheduledMessage.objects.exists()


def test_json_is_all_that_is_printed() -> None:
    result = add.delay(2, 2)
    assert json.loads(run("taskcontrol", "revoke", result.id, "--json")) == []
    assert result.state == "REVOKED"
    assert json.loads(run("taskcontrol", "shutdown", "--json")) == []


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["revoke", "x" * 256], "task_id has to have 1 to 255 characters"),
        (["terminate", "NOTHING", "x"], "no signal"),
        (["revoke_by_name", "x" * 256], "pattern has to have 1 to 255 characters"),
        (["revoke_by_stamped_headers", "nothing"], "headers have to be given as key=value"),
    ],
)
def test_what_can_not_be_revoked_is_said(words: list[str], error: str) -> None:
    with pytest.raises(CommandError, match=error) as caught:
        run("taskcontrol", *words)
    assert caught.value.returncode == 2


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ([], "Name a command of the list"),
        (["nosuch"], "Unknown command 'nosuch': see --list"),
        (["revoke"], "revoke <id1> .*: an argument is missing"),
        (["terminate", "TERM"], "an argument is missing"),
        (["revoke_by_name"], "an argument is missing"),
        (["revoke_by_stamped_headers"], "an argument is missing"),
        (["cancel_consumer"], "an argument is missing"),
        (["pool_grow", "x"], "n can't be 'x'"),
        (["shutdown", "now"], "'now' is too much"),
    ],
)
def test_a_command_line_that_can_not_be_read_ends_as_one_of_argparse(words: list[str], error: str) -> None:
    with pytest.raises(CommandError, match=error) as caught:
        run("taskcontrol", *words)
    assert caught.value.returncode == 2


def failing(*args: Any, **kwargs: Any) -> Any:
    raise OperationalError("connection refused")


def test_it_is_said_whether_anything_is_revoked(monkeypatch: pytest.MonkeyPatch) -> None:
    result, out = add.delay(2, 2), StringIO()
    with (
        monkeypatch.context() as patch,
        pytest.raises(CommandError, match="Nothing is revoked: the database 'default'"),
    ):
        patch.setattr("taskq.control.caller.write_revoked", failing)
        call_command("taskcontrol", "revoke", result.id)
    monkeypatch.setattr("taskq.control.caller.broadcast", failing)
    with pytest.raises(CommandError, match="The broker of remote control, django://, can't be used"):
        call_command("taskcontrol", "revoke", result.id, stdout=out)
    assert out.getvalue().startswith("1 task revoked")
    assert result.state == "REVOKED"


def test_a_command_without_replies_is_sent() -> None:
    assert run("taskcontrol", "shutdown") == "sent: shutdown, which has no reply\n"
    with pytest.raises(CommandError, match="No nodes replied") as caught:
        run("taskcontrol", "heartbeat")
    assert caught.value.returncode == 69


FORGED = "\x1b[2J\rx\n->  w2@here: OK\u202e\x07"


@pytest.fixture(params=["ok", "text", "list", "dictionary", "name"])
def forged(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    reply = {
        "ok": {"ok": FORGED}, "text": FORGED, "list": [FORGED, {"a": FORGED}], "dictionary": {FORGED: FORGED},
        "name": {"error": "no"},
    }[request.param]  # fmt: skip
    found = {FORGED if request.param == "name" else "w1@here": reply}

    def answer(*args: Any, callback: Any = None, **options: Any) -> list[dict[str, Any]]:
        if callback is not None:
            callback(found)
        return [found]

    monkeypatch.setattr(remote, "broadcast", answer)


@pytest.mark.parametrize(
    "words", [["taskstatus"], ["taskinspect", "ping"], ["taskinspect", "report"], ["taskcontrol", "heartbeat"]]
)
def test_replies_act_on_no_terminal_and_forge_no_line(forged: None, words: list[str]) -> None:
    out = run(*words)
    assert all(each.isprintable() for each in out.split("\n"))
    assert len([line for line in out.split("\n") if line.startswith("->  ")]) == 1
