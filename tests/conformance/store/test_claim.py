"""Claims: in order, each message once."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import pytest
from django.db import OperationalError, connections, transaction

from taskq.engines import for_alias
from taskq.models import Exchange, Message, TaskRun
from taskq.store import workers
from taskq.store.claim import acknowledge, claim, count_start, revoke_requests
from taskq.store.enqueue import enqueue
from taskq.store.requeue import requeue
from taskq.store.revoke import revoke
from tests.support.envelopes import envelope

T = TypeVar("T")


def test_claim_takes_the_most_urgent_and_oldest_first(alias: str) -> None:
    sent = [envelope(priority=p) for p in (0, 5, 9, 5, 0, 9)]
    enqueue(sent)
    token = workers.register("w")
    expected = [sent[n].task_id for n in (2, 5, 1, 3, 0, 4)]
    first = claim("taskq", 4, token)
    rest = claim("taskq", 100, token)
    assert [m.task_id for m in first + rest] == expected


def test_claim_takes_from_its_queue_only(alias: str) -> None:
    enqueue([envelope(queue="a"), envelope(queue="b")])
    token = workers.register("w")
    assert [m.queue for m in claim("a", 10, token)] == ["a"]
    assert claim("a", 10, token) == []
    assert [m.queue for m in claim("b", 10, token)] == ["b"]


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
@pytest.mark.parametrize("steady", [True, False])
def test_claim_takes_what_comes_after_ids_of_each_priority(alias: str, steady: bool) -> None:
    if steady:
        connections[alias].ensure_connection()
        for_alias(alias).make_steady()
    sent = [envelope(priority=p) for p in (0, 5, 9, 5, 0, 9, 12)] + [envelope(queue="other", priority=9)]
    enqueue(sent)
    ids = list(Message.objects.using(alias).order_by("id").values_list("id", flat=True))
    after = {9: ids[2], 5: ids[1], 0: ids[0], 12: 0}
    assert [m.id for m in claim("taskq", 2, "t", after=after)] == [ids[6], ids[5]]
    assert [m.id for m in claim("taskq", 9, "t", after=after)] == [ids[3], ids[4]]
    assert [m.id for m in claim("taskq", 9, "t")] == [ids[2], ids[1], ids[0]]
    connections[alias].close()


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_worker_prepares_its_claims_and_remembers_no_statement_with_values(alias: str) -> None:
    connections[alias].ensure_connection()
    for_alias(alias).make_steady()
    for _ in range(2):
        enqueue([envelope()])
        assert len(claim("taskq", 1, "t")) == 1
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%%taskq_message%%'")
        assert cursor.fetchone()[0] == 1
        text = "x" * 10_000_000
        tracemalloc.start()
        try:
            cursor.execute("SELECT length(%s)", [text])
            cursor.execute("SELECT 1")
            assert tracemalloc.get_traced_memory()[0] < 1_000_000
        finally:
            tracemalloc.stop()
    connections[alias].close()


def test_a_claimed_message_is_as_it_was_sent(alias: str) -> None:
    sent = envelope(priority=7, exchange="e", routing_key="r", content_type="text/x", properties={"k": 1})
    enqueue([sent])
    (m,) = claim("taskq", 1, workers.register("w"))
    assert (m.task_id, m.body, m.content_type, m.priority) == (sent.task_id, sent.body, "text/x", 7)
    assert (m.exchange, m.routing_key, m.properties, m.deliveries) == ("e", "r", '{"k": 1}', 0)
    assert (bool(m.redelivered), bool(m.tracked), m.revoked) == (False, True, "")


def test_concurrent_claims_get_each_message_once(alias: str) -> None:
    enqueue([envelope() for _ in range(300)])
    got: list[int] = []
    barrier = threading.Barrier(4)

    def take() -> None:
        token = workers.register("w")
        barrier.wait()
        try:
            while claimed := claim("taskq", 7, token):
                got.extend(m.id for m in claimed)
        finally:
            connections[alias].close()

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # A claimer may have found everything locked by others and gone home early.
    got += [m.id for m in claim("taskq", 300, workers.register("last"))]
    assert len(got) == len(set(got)) == 300


def _insist(work: Callable[[], T]) -> T:
    """Do ``work`` until its transaction can be serialized, as a worker does turn after turn."""
    while True:
        try:
            return work()
        except OperationalError:
            pass


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
@pytest.mark.parametrize("steady", [True, False])
def test_concurrent_claims_get_each_message_once_in_strict_transactions(
    alias: str, isolation: str, steady: bool
) -> None:
    enqueue([envelope() for _ in range(200)])
    got: list[int] = []
    barrier = threading.Barrier(3)

    def take() -> None:
        with connections[alias].cursor() as cursor:
            cursor.execute(f"SET default_transaction_isolation = '{isolation}'")
        if steady:
            for_alias(alias).make_steady()
        token = workers.register("w")
        barrier.wait()
        try:
            # What is requeued is a row that other snapshots don't know.
            while claimed := _insist(lambda: claim("taskq", 7, token)):
                again = claimed[: len(claimed) // 2]
                _insist(partial(requeue, token, [m.id for m in again]))
                got.extend(m.id for m in claimed[len(again) :])
        finally:
            connections[alias].close()

    threads = [threading.Thread(target=take) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    got += [m.id for m in claim("taskq", 200, workers.register("last"))]
    assert len(got) == len(set(got)) == 200


def test_starts_are_counted_for_the_holder_only(alias: str) -> None:
    enqueue([envelope()])
    token = workers.register("w")
    (message,) = claim("taskq", 1, token)
    assert count_start(token, [message.id]) == {message.id}
    assert count_start("other", [message.id]) == set()
    assert Message.objects.using(alias).get().deliveries == 1


def test_acknowledging_is_for_the_holder_only(alias: str) -> None:
    enqueue([envelope()])
    token = workers.register("w")
    (message,) = claim("taskq", 1, token)
    assert acknowledge("other", [message.id]) == set()
    assert acknowledge(token, [message.id]) == {message.id}
    assert Message.objects.using(alias).get().acked


def test_revocations_of_claimed_messages_are_reported_to_their_holder(alias: str) -> None:
    enqueue([envelope("x"), envelope("y"), envelope("z")])
    token = workers.register("w")
    x, y, _ = claim("taskq", 3, token)
    revoke(["x"])
    revoke(["y"], terminate="SIGKILL")
    assert revoke_requests(token, [x.id, y.id]) == {x.id: "revoke", y.id: "SIGKILL"}
    assert revoke_requests(token, [y.id]) == {y.id: "SIGKILL"}
    assert revoke_requests("other", [x.id, y.id]) == {}


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_claim_in_the_callers_transaction_leaves_synchronous_commit_on(alias: str) -> None:
    enqueue([envelope()])
    with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
        assert len(claim("taskq", 10, workers.register("w"))) == 1
        cursor.execute("SHOW synchronous_commit")
        assert cursor.fetchone() == ("on",)


def test_queue_names_and_ids_differ_by_case_and_trailing_blanks(alias: str) -> None:
    enqueue([envelope("id", queue="case"), envelope("id ", queue="case "), envelope("ID", queue="Case")])
    token = workers.register("w")
    for queue, task_id in (("case", "id"), ("case ", "id "), ("Case", "ID")):
        assert [m.task_id for m in claim(queue, 10, token)] == [task_id]
    assert TaskRun.objects.using(alias).count() == 3
    assert TaskRun.objects.using(alias).get(task_id="id ").queue == "case "


def test_a_redelivered_message_of_an_ended_task_does_not_start(alias: str) -> None:
    enqueue([envelope("x"), envelope("y")])
    token = workers.register("w")
    x, y = claim("taskq", 2, token)
    TaskRun.objects.using(alias).filter(task_id="x").update(state="SUCCESS")
    assert count_start(token, [x.id, y.id]) == {y.id}
    assert list(Message.objects.using(alias).values_list("task_id", "deliveries")) == [("y", 1)]


@pytest.mark.parametrize(("kind", "starts"), [("fanout", True), ("topic", True), ("direct", False)])
def test_a_copy_starts_though_another_copy_has_ended(alias: str, kind: str, starts: bool) -> None:
    Exchange.objects.using(alias).create(name="e", type=kind)
    enqueue([envelope("x", exchange="e")])
    token = workers.register("w")
    (message,) = claim("taskq", 1, token)
    TaskRun.objects.using(alias).update(state="SUCCESS")
    assert count_start(token, [message.id]) == ({message.id} if starts else set())
    assert Message.objects.using(alias).exists() is starts
