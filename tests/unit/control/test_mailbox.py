"""The mailbox with a link that only notes: late replies, their timers, and long searches that say how far they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from taskq.control import log_lines, registry
from taskq.control.commands import tasks as task_commands
from taskq.control.mailbox import Mailbox
from taskq.control.pending import Pending
from taskq.worker.remote import connection as names


class Link:
    """Notes timers and replies, in place of a connection."""

    connection_errors = (ConnectionError,)

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.timers: dict[int, Callable[[], object]] = {}
        self.replies: list[Any] = []
        self.receive: Callable[[Any], None] = lambda message: None

    def consume(self, queue: Any, on_message: Any, on_old: Any = None) -> None:
        self.receive, self.on_old = on_message, on_old

    def after(self, seconds: float, call: Callable[[], object]) -> Callable[[], None]:
        number = len(self.timers)
        self.timers[number] = call
        return lambda: self.timers.pop(number, None) and None

    def publish(self, body: Any, exchange: Any, key: str, *, headers: Any) -> None:
        if self.error is not None:
            raise self.error
        assert (exchange.name, key) == (names.reply_exchange().name, "k")
        self.replies.append(body["w@h"])


def state(**more: Any) -> Any:
    return SimpleNamespace(hostname="w@h", **more)


def message(method: str, arguments: Any = None, exchange: str = "") -> Any:
    reply_to = {"exchange": exchange or names.reply_exchange().name, "routing_key": "k"}
    body = json.dumps({"method": method, "arguments": arguments or {}, "reply_to": reply_to, "ticket": "t"})
    return SimpleNamespace(body=body, content_type="application/json", headers={"clock": 1})


def connected(link: Link, of: Any = None) -> Link:
    registry.load()
    Mailbox(of or state()).connected(link)  # type: ignore[arg-type]
    return link


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Pending:
    pending = Pending(lambda call, *args: call(*args), lambda: "late")
    command = registry.Command("slow", "inspect", lambda state: pending)
    monkeypatch.setitem(registry.commands, "slow", command)
    return pending


def test_a_reply_in_time_takes_its_timer_with_it(slow: Pending) -> None:
    link = connected(Link())
    link.receive(message("slow"))
    assert (len(link.timers), link.replies) == (1, [])
    slow.give("in time")
    assert (len(link.timers), link.replies) == (0, ["in time"])


def test_a_reply_that_is_late_is_told_so_once(slow: Pending) -> None:
    link = connected(Link())
    link.receive(message("slow"))
    (timer,) = link.timers.values()
    timer()
    slow.give("too late")
    assert link.replies == ["late"]


def test_only_a_lost_connection_goes_on() -> None:
    link = connected(Link(ValueError("refused")))
    link.receive(message("ping"))
    link.error = ConnectionResetError("gone")
    with pytest.raises(ConnectionResetError):
        link.receive(message("ping"))
    link.receive(message("ping", exchange="amq.direct"))


def test_only_a_new_worker_drops_what_waits() -> None:
    link, mailbox = Link(), Mailbox(state())
    mailbox.connected(link)  # type: ignore[arg-type]
    link.on_old(message("ping"))
    assert link.replies == []
    mailbox.connected(link)  # type: ignore[arg-type]
    assert link.on_old is None
    link.receive(message("ping"))
    assert link.replies == [{"ok": "pong"}]


def test_lines_of_the_log_are_short(caplog: pytest.LogCaptureFixture) -> None:
    log_lines.command_expired("x" * 1000, 1.0)
    log_lines.command_old("x" * 1000)
    log_lines.reply_refused("x" * 1000, "a", "b")
    log_lines.reply_not_sent("x" * 1000, ValueError("y" * 10_000))
    assert len(caplog.messages) == 4
    assert max(map(len, caplog.messages)) < 1300
    assert not any("x" * 101 in line for line in caplog.messages)


# -- long searches


class Turns:
    """The store thread, a turn at a time."""

    def __init__(self) -> None:
        self.posted: list[Callable[[], None]] = []

    def post(self, call: Callable[[], None]) -> None:
        self.posted.append(call)

    def turn(self) -> None:
        self.posted.pop(0)()


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> Turns:
    batches = iter([["a", "b"], [], ["c"]])
    monkeypatch.setattr(task_commands.revoking, "by_name", lambda pattern, alias: batches)
    monkeypatch.setattr(task_commands, "write_revoked", lambda ids, signal, alias: len(ids))
    return Turns()


def searching(turns: Turns, command: str = "revoke_by_name", arguments: Any = None) -> Link:
    def pending(late: Callable[[], Any]) -> Pending:
        return Pending(lambda call, *args: call(*args), late)

    store = SimpleNamespace(calls=turns, alias="default")
    of = state(
        held=list, pending=pending, no_database=lambda: {"error": "no database"}, node=SimpleNamespace(store=store)
    )
    link = connected(Link(), of)
    link.receive(message(command, arguments or {"pattern": "shop.*"}))
    return link


@pytest.mark.parametrize(
    ("done", "words"),
    [
        (0, {"error": "no database"}),
        (1, {"ok": "still working: 2 tasks revoked so far, in 1 of the steps through all messages"}),
        (3, {"ok": "still working: 3 tasks revoked so far, in 3 of the steps through all messages"}),
        (4, {"ok": "tasks shop.* flagged as revoked"}),
    ],
)
def test_a_long_search_says_how_far_it_is(turns: Turns, done: int, words: dict[str, str]) -> None:
    link = searching(turns)
    for _ in range(done):
        turns.turn()
    for timer in list(link.timers.values()):
        timer()
    assert link.replies == [words]
    while turns.posted:
        turns.turn()
    assert link.replies == [words]


def test_a_search_that_fails_is_an_error(turns: Turns, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> int:
        raise ValueError("no")

    monkeypatch.setattr(task_commands, "write_revoked", fail)
    link = searching(turns)
    turns.turn()
    assert link.replies == [{"error": "ValueError('no')"}]
    assert not link.timers
    assert not turns.posted


def test_many_ids_are_revoked_a_batch_in_each_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    monkeypatch.setattr(task_commands, "write_revoked", lambda ids, signal, alias: written.append(len(ids)) or len(ids))
    turns = Turns()
    link = searching(turns, "revoke", {"task_id": [str(number) for number in range(1200)]})
    turns.turn()
    assert written == [500]
    while turns.posted:
        turns.turn()
    assert written == [500, 500, 200]
    assert "flagged as revoked" in link.replies[0]["ok"]


def test_more_ids_than_one_command_may_have_are_an_error() -> None:
    link = searching(turns := Turns(), "revoke", {"task_id": [str(number) for number in range(30_001)]})
    assert "at most 30000 tasks, not 30001" in link.replies[0]["error"]
    assert not turns.posted
