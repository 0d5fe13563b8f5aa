"""Messages with a worker's token that the worker does not know: of claims whose answer was lost."""

from __future__ import annotations

import time

import pytest
from django.db import OperationalError

from taskq.engines.marks import mark
from taskq.models import Message
from taskq.records import Claimed
from taskq.store import workers
from taskq.store.claim import claim
from taskq.worker.duties import database_source as source_module
from tests.unit.worker.duties.taken import Taken, send

pytestmark = pytest.mark.django_db(transaction=True)


def test_messages_of_a_claim_that_was_cut_off_are_claimed_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    send("a", 3)
    taken = Taken(target=2)

    def cut(*args: object) -> list[Claimed]:
        claim(*args)  # type: ignore[arg-type]
        raise OperationalError("the answer was lost")

    with monkeypatch.context() as patch:
        patch.setattr(source_module, "claim", cut)
        with pytest.raises(OperationalError):
            taken.source.work()
    assert Message.objects.filter(token=taken.lease.token).count() == 2
    taken.source.work()
    assert [m.redelivered for m in taken.messages] == [False, False]
    assert Message.objects.filter(token=taken.lease.token).count() == taken.lease.held == 2
    assert "2 messages that this worker held and did not know went back" in caplog.text


def test_messages_that_a_cut_off_claim_takes_later_are_freed_by_a_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    """The database may go on with a statement after its connection broke."""
    send("a", 3)
    taken = Taken(target=1)

    def cut(*args: object) -> list[Claimed]:
        raise OperationalError("the answer was lost")

    with monkeypatch.context() as patch:
        patch.setattr(source_module, "claim", cut)
        with pytest.raises(OperationalError):
            taken.source.work()
    taken.source.work()
    claim("a", 2, taken.lease.token)
    taken.source._next_poll = 0.0
    taken.source.work()
    assert Message.objects.filter(token=taken.lease.token).count() == taken.lease.held == 1


def test_each_poll_frees_messages_with_this_token_that_the_worker_does_not_know(
    caplog: pytest.LogCaptureFixture,
) -> None:
    send("a", 3)
    taken = Taken("b")
    taken.source.work()
    claim("a", 2, taken.lease.token)
    taken.source.work()
    assert Message.objects.filter(token=taken.lease.token).count() == 2, "not before the poll"
    taken.source._next_poll = 0.0
    taken.source.work()
    assert not Message.objects.exclude(token="").exists()
    assert "2 messages that this worker held" in caplog.text


def test_looks_at_all_that_is_held_pause_where_they_are_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = Taken()
    looks: list[str] = []
    monkeypatch.setattr(source_module, "held", lambda token, alias: looks.append(token) or set())
    taken.source.work()
    assert not looks, "before its first claim a worker holds nothing"
    for _ in range(3):
        taken.source._next_poll = 0.0
        taken.source.work()
    assert len(looks) == 3
    taken.source._held_pace.next_look = time.monotonic() + 3600
    taken.source._next_poll = 0.0
    taken.source.work()
    assert len(looks) == 3
    taken.source._claim_in_doubt = True
    taken.source.work()
    assert len(looks) == 4, "the answer of a claim was lost"


def test_poll_keeps_messages_that_run_wait_for_their_settlement_or_are_held_back() -> None:
    send("a", 2)
    taken = Taken()
    taken.source.work()
    first, second = taken.messages
    workers.deregister(taken.lease.token)
    taken.lease.heartbeat()
    taken.source.on_notification({mark("a")})
    taken.source.work()  # claims both again, and holds them back while they run under the old token
    taken.lease.drop(first.id)
    taken.source._next_poll = 0.0
    taken.source.work()
    assert [message.id for message in taken.again] == [first.id]
    taken.source._next_poll = 0.0
    taken.source.work()
    assert Message.objects.filter(token=taken.lease.token).count() == 2
    assert second.id in [message.id for _, message in taken.source._deferred]


def test_message_still_running_from_a_lost_lease_is_claimed_when_that_run_ended() -> None:
    send("a", 2)
    taken = Taken()
    taken.source.work()
    first, second = taken.messages
    workers.deregister(taken.lease.token)
    taken.lease.heartbeat()
    taken.lease.drop(second.id)  # it had not begun
    taken.source.on_notification({mark("a")})
    taken.source.work()
    assert [message.id for message in taken.again] == [second.id]
    taken.lease.drop(first.id)  # its run has ended, and settled nothing
    taken.source.work()
    assert [message.id for message in taken.again[1:]] == [first.id]
    assert taken.lease.holder(first.id) == taken.lease.token
