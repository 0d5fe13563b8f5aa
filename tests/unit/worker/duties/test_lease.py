"""The lease: what is held, who beats, and who is taken for dead. Clocks are in ``tests/faults``."""

from __future__ import annotations

import json
import os
import time
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from django.db import OperationalError

from taskq.engines.marks import mark
from taskq.models import Message, Worker
from taskq.processes import host_identity, process_started
from taskq.store import revoke, workers
from taskq.store.claim import claim
from taskq.store.enqueue import enqueue
from taskq.worker.duties import lease as lease_module
from taskq.worker.duties.lease import WorkerLease
from tests.support.envelopes import envelope
from tests.support.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


class Heard:
    """A lease, and what it told."""

    def __init__(self) -> None:
        self.revoked: list[dict[int, str]] = []
        self.lost: list[set[int]] = []
        self.lease = WorkerLease(
            "w@host", 30.0, "default", info=lambda: {"pool": "x"}, on_revoked=self.revoked.append,
            on_lost=self.lost.append,
        )  # fmt: skip


@pytest.fixture
def heard() -> Heard:
    return Heard()


def test_first_beat_registers_the_worker_and_later_ones_renew_its_row(heard: Heard) -> None:
    lease = heard.lease
    assert not lease.is_valid
    lease.work()
    assert lease.is_valid
    row = Worker.objects.get()
    assert (row.token, row.name, row.pid, row.info, row.beats) == (
        lease.token,
        "w@host",
        os.getpid(),
        '{"pool": "x"}',
        0,
    )
    lease.work()
    assert Worker.objects.get().beats == 0, "it is not time yet"
    lease.state = "stopping"
    lease.heartbeat()
    assert (Worker.objects.get().beats, Worker.objects.get().state) == (1, "stopping")
    assert 0 < (lease.due() or 0) <= 7.5


def test_lease_runs_out_while_the_loop_hangs(heard: Heard) -> None:
    lease = heard.lease
    lease.work()
    lease.loop_hangs = lambda: True
    lease._next_beat = 0.0
    lease.work()
    assert Worker.objects.get().beats == 0
    assert 0 < (lease.due() or 0) <= 7.5, "the store thread must not turn without a pause"
    lease.loop_hangs = lambda: False
    lease._next_beat = 0.0
    lease.work()
    assert Worker.objects.get().beats == 1


def test_lease_knows_which_messages_it_holds_under_which_token(heard: Heard) -> None:
    lease = heard.lease
    lease.heartbeat()
    lease.take([1, 2])
    first = lease.token
    lease.token = "second"
    lease.take([3])
    assert (lease.holder(1), lease.holder(3), lease.holder(4)) == (first, "second", "second")
    assert lease.not_held({1, 3, 9}) == {9}
    lease.drop(1)
    assert lease.held == 2


def test_worker_whose_row_is_gone_loses_all_and_registers_anew(heard: Heard, caplog: pytest.LogCaptureFixture) -> None:
    lease = heard.lease
    lease.heartbeat()
    enqueue([envelope()])
    (message,) = claim("taskq", 1, lease.token)
    lease.take([message.id])
    before = lease.token
    Worker.objects.all().delete()
    lease.heartbeat()
    assert heard.lost == [{message.id}]
    assert Worker.objects.get().token == lease.token != before
    assert Message.objects.get().token == ""
    assert "taken for dead" in caplog.text


def test_second_loss_tells_of_what_was_held_since_the_first(heard: Heard) -> None:
    lease = heard.lease
    lease.heartbeat()
    for held in (1, 2):
        lease.take([held])
        Worker.objects.all().delete()
        lease.heartbeat()
    assert heard.lost == [{1}, {2}]


def test_locked_messages_of_a_lost_lease_are_requeued_later(heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(token: str, alias: str) -> int:
        raise OperationalError("locked")

    lease = heard.lease
    lease.heartbeat()
    enqueue([envelope()])
    claim("taskq", 1, lease.token)
    lease.patience = Mock(met_lock=lambda error: True)
    monkeypatch.setattr(lease_module, "requeue_held", locked)
    Worker.objects.all().delete()
    lease.heartbeat()
    assert Message.objects.get().token != ""

    def requeued() -> bool:
        lease._next_beat = 0.0
        lease.work()
        return Message.objects.get().token == ""

    with monkeypatch.context() as still:
        still.setattr(lease_module, "requeue_free", lambda token, alias: 0)
        assert not requeued()
    wait_until(requeued, what="the message to be requeued")


def test_lease_counts_from_before_its_heartbeat(heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    lease, now = heard.lease, [100.0]
    beat = workers.heartbeat

    def slow(*args: Any, **options: Any) -> bool:
        now[0] += lease.seconds
        return beat(*args, **options)

    lease.heartbeat()
    monkeypatch.setattr(lease_module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(workers, "heartbeat", slow)
    lease.heartbeat()
    assert not lease.is_valid, "a peer that saw the heartbeat at once may take this worker for dead"


def test_local_worker_whose_process_ended_is_declared_dead(heard: Heard, caplog: pytest.LogCaptureFixture) -> None:
    here, mine = host_identity(), process_started(os.getpid()) or 0
    gone = workers.register("gone", host=here, pid=os.getpid(), process_started=mine + 1)
    alive = workers.register("alive", host=here, pid=os.getpid(), process_started=mine)
    elsewhere = workers.register("elsewhere", host="other", pid=2**22, process_started=1)
    unknown = workers.register("unknown")
    enqueue([envelope()])
    claim("taskq", 1, gone)
    heard.lease.work()
    tokens = set(Worker.objects.exclude(state="lost").values_list("token", flat=True))
    assert tokens == {heard.lease.token, alive, elsewhere, unknown}
    assert Message.objects.get().redelivered
    assert "gone (pid" in caplog.text


def test_second_worker_of_the_same_name_is_logged_once(heard: Heard, caplog: pytest.LogCaptureFixture) -> None:
    here, mine = host_identity(), process_started(os.getpid()) or 0
    workers.register("w@host", host=here, pid=os.getpid(), process_started=mine)
    workers.register("w@host", host="other", pid=1, process_started=1)
    workers.register("v@host", host=here, pid=os.getpid(), process_started=mine)
    for _ in range(2):
        heard.lease.heartbeat()
        heard.lease._recover_dead_peers()
    assert caplog.text.count("named w@host too") == 1


def test_worker_on_this_host_whose_process_is_hidden_is_not_declared_dead(
    heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with two users' workers where /proc has hidepid."""
    other = workers.register("other", host=host_identity(), pid=os.getpid(), process_started=1)
    monkeypatch.setattr("taskq.processes._stat", lambda pid: None)
    heard.lease.work()
    assert set(Worker.objects.values_list("token", flat=True)) == {heard.lease.token, other}


def test_revocation_is_reported_once_when_its_news_arrives(heard: Heard) -> None:
    lease = heard.lease
    lease.work()
    enqueue([envelope("x"), envelope("y")])
    x, y = claim("taskq", 2, lease.token)
    lease.take([x.id, y.id])
    revoke.revoke(["x"])
    lease.work()
    assert heard.revoked == []
    lease.on_notification({mark(revoke.REVOKED_NAME)})
    lease.work()
    assert heard.revoked == [{x.id: "revoke"}]
    lease.on_notification(None)
    lease.on_notification({mark("taskq")})
    lease.work()
    assert len(heard.revoked) == 1


def test_deregister_deletes_the_worker_and_requeues_its_messages(heard: Heard) -> None:
    heard.lease.heartbeat()
    enqueue([envelope()])
    claim("taskq", 1, heard.lease.token)
    heard.lease.deregister()
    heard.lease.deregister()
    assert not Worker.objects.exists()
    assert Message.objects.get().token == ""


def test_worker_back_after_an_outage_declares_nobody_dead_at_first(
    heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = heard.lease
    lease.heartbeat()
    other = workers.register("other", lease=5.0)
    lease.work()
    now = time.monotonic() + 6.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    lease.reset_peers()
    lease.work()
    assert Worker.objects.filter(token=other).exists()


def test_changed_info_is_written_with_a_heartbeat_at_once(heard: Heard) -> None:
    heard.lease.heartbeat()
    heard.lease.info = lambda: {"queues": ["a", "b"]}
    heard.lease.work()
    assert "queues" not in Worker.objects.get().info
    heard.lease.write_info()
    heard.lease.work()
    assert json.loads(Worker.objects.get().info) == {"queues": ["a", "b"]}
