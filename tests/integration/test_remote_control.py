"""Remote control over every broker and pool, of several workers, with hostile messages, and without a database."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings
from kombu import Connection, Exchange

from taskq import AsyncResult, control
from taskq.exceptions import TaskRevokedError
from taskq.worker.remote.connection import connect, mailbox_exchange, mailbox_queue, reply_exchange
from tests.support import services, workers
from tests.support.jobs import endings
from tests.support.length import FULL
from tests.support.processes import Process, Processes
from tests.support.proxy import Proxy
from tests.support.waiting import wait_until

from .conftest import StartWorker

on_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
on_postgresql = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


@pytest.fixture(params=["redis", "rabbitmq"])
def remote(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """Settings, without their prefix, for remote control over another broker, under names of this test alone."""
    services.require_or_skip(request.param)
    chosen = {"CONTROL_URL": services.url(request.param), "NAMESPACE": f"t{uuid.uuid4().hex[:12]}"}
    with override_settings(**{f"TASKQ_{name}": value for name, value in chosen.items()}):
        yield chosen


def node_of(worker: Process) -> str:
    return worker.wait_for_log(r"(\S+@\S+) ready").group(1)


def ask(node: str) -> control.Inspect:
    return control.inspect(node, timeout=60, limit=1)


def run(results: list[AsyncResult[Any]], notes: Path) -> list[str]:
    wait_until(lambda: len(notes.read_text().splitlines()) == len(results), what="the tasks to run")
    return [result.id for result in results]


# -- over other brokers


@on_sqlite
def test_control_over_another_broker(
    start_worker: StartWorker, remote: dict[str, str], notes: Path, go_on: Path
) -> None:
    worker = start_worker("-c", "2", "-Q", "q", **remote)
    node = node_of(worker)
    ids = run([endings.wait_for_file.apply_async((str(notes), str(go_on)), queue="q") for _ in range(2)], notes)
    assert {each["id"] for each in ask(node).active()} == set(ids)
    assert control.ping(limit=1, timeout=60) == [{node: {"ok": "pong"}}]
    answer = control.revoke(ids[0], terminate=True, reply=True, limit=1, timeout=60)
    assert answer == [{node: {"ok": f"terminate: {ids[0]}"}}]
    with pytest.raises(TaskRevokedError):
        AsyncResult(ids[0]).get(timeout=60)
    go_on.touch()
    assert AsyncResult(ids[1]).get(timeout=60) == "done"
    control.shutdown()
    assert worker.wait() == 0


@on_postgresql
@pytest.mark.parametrize("remote", ["redis", "rabbitmq"] if FULL else ["redis"], indirect=True)
def test_a_worker_without_its_database_answers(
    start_worker: StartWorker, processes: Processes, remote: dict[str, str], database_url: str
) -> None:
    with Proxy(database_url) as proxy:
        processes.environment["DATABASE_URL"] = proxy.url
        worker = start_worker("-c", "2", **remote)
        node = node_of(worker)
        proxy.freeze()
        # It has no database while it is asked: each answer is given without one.
        assert ask(node).ping() == {"ok": "pong"}
        assert ask(node).stats()["pid"] == worker.pid
        assert ask(node).active() == ask(node).reserved() == []
        assert ask(node).registered()
        assert "does not answer" in ask(node).scheduled()["error"]
        proxy.stop()
        assert ask(node).ping() == {"ok": "pong"}
        assert ask(node).stats()["pid"] == worker.pid
        control.shutdown()
        worker.wait_for_log(r"Warm shutdown")
        worker.wait()


@on_sqlite
@pytest.mark.parametrize("remote", ["rabbitmq"], indirect=True)
def test_two_workers_of_one_name_are_told(start_worker: StartWorker, remote: dict[str, str]) -> None:
    first = start_worker("-n", "twin@here", **remote)
    second = start_worker("-n", "twin@here", **remote)
    second.wait_for_log(r"twin@here.*exclusive|RESOURCE_LOCKED|cannot obtain exclusive access")
    assert control.ping(timeout=60, limit=1) == [{"twin@here": {"ok": "pong"}}]
    assert first.running
    assert second.running


@on_sqlite
@pytest.mark.parametrize("remote", ["redis"], indirect=True)
def test_a_worker_whose_broker_is_not_there_works_on(start_worker: StartWorker, remote: dict[str, str]) -> None:
    with Proxy(remote["CONTROL_URL"]) as proxy:
        worker = start_worker(**remote | {"CONTROL_URL": proxy.url})
        node = node_of(worker)
        assert ask(node).ping() == {"ok": "pong"}
        proxy.stop()
        worker.wait_for_log("Remote control has no connection")
        assert endings.square.apply_async((3,), queue=remote["NAMESPACE"]).get(timeout=60) == 9
        proxy.start()
        wait_until(lambda: control.inspect(node, timeout=1, limit=1).ping() == {"ok": "pong"}, what="an answer")


# -- what waited while nobody was there


@on_sqlite
def test_a_worker_does_not_obey_what_was_sent_to_the_one_that_was_killed(
    start_worker: StartWorker, processes: Processes, alias: str
) -> None:
    start_worker("-n", "again@here").kill()
    waiting = endings.square.delay(3)
    # As Celery's programs send it: what taskq's callers revoke is in the database already.
    control.broadcast("revoke", {"task_id": waiting.id}, destination=["again@here"])
    control.broadcast("pool_grow", {"n": 2})
    control.shutdown()
    assert control.ping(timeout=0.1) == []
    with connect() as connection:
        assert mailbox_queue("again@here")(connection.channel()).queue_declare(passive=True).message_count == 4
    # The task is for a queue that it does not read: the revoke alone decides.
    second = start_worker("-n", "again@here", "-Q", "other")
    assert ask("again@here").stats()["pool"]["max-concurrency"] == 1
    wait_until(lambda: waiting.state == "REVOKED", what="the task to be revoked")
    second.wait_for_log("The command shutdown is not obeyed")
    assert second.running
    # What comes from now on is obeyed.
    control.shutdown()
    assert second.wait() == 0


# -- pools, and several workers


@on_sqlite
@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_a_worker_answers_while_all_of_its_pool_is_busy(
    start_worker: StartWorker, processes: Processes, pool: str, notes: Path, go_on: Path
) -> None:
    processes.environment["TEST_APPS"] = "tests.support.jobs"
    worker = start_worker("-P", pool)
    node = node_of(worker)
    (task_id,) = run([endings.spin.delay(str(notes), str(go_on))], notes)
    waiting = endings.square.delay(3)
    (found,) = ask(node).active()
    assert found["id"] == task_id
    assert ask(node).stats()["pool"]["max-concurrency"] == 1
    answer = control.terminate(task_id, reply=True, limit=1, timeout=60)
    if pool == "prefork":
        # Though it may have ended before the command came: the caller writes to the database first.
        assert answer == [{node: {"ok": f"terminate: {task_id}"}}]
    else:
        words = f"the {pool} pool can't end a running task: {task_id} revoked, not terminated"
        assert answer == [{node: {"error": words}}]
    go_on.touch()
    assert waiting.get(timeout=60) == 9


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_three_workers_and_one_of_them(start_worker: StartWorker, processes: Processes) -> None:
    names = [f"w{number}@host" for number in (1, 2, 3)]
    started = [start_worker("-n", name, ready=False) for name in names]
    for worker in started:
        worker.wait_for_log(" ready")
    replies = control.ping(timeout=60, limit=3) or []
    assert sorted(name for reply in replies for name in reply) == names
    environment = workers.as_environment({})
    # It waits for its whole time, since it does not know how many there are.
    lines = [f"->  {name}: OK" for name in names]
    wait_until(
        lambda: processes.run("taskstatus", "-t", "5", **environment).splitlines() == [*lines, "", "3 nodes online."],
        what="all three to answer in time",
    )
    out = processes.run("taskinspect", "ping", "--destination=w2@host", "-t", "20", **environment)
    assert out == "->  w2@host: OK\n        pong\n\n1 node online.\n"
    assert control.inspect(pattern="w[13]@*", matcher="glob", timeout=60, limit=2).ping().keys() == {names[0], names[2]}


@on_sqlite
def test_one_of_eight_running_tasks_is_terminated(
    start_worker: StartWorker, notes: Path, go_on: Path, full_run: bool
) -> None:
    node = node_of(start_worker("-c", "8"))
    running = run([endings.wait_for_file.delay(str(notes), str(go_on)) for _ in range(8)], notes)
    for number in range(100 if full_run else 5):
        target = running.pop(number % 8)
        control.terminate(target, signal="SIGKILL", reply=True, limit=1, timeout=60)
        with pytest.raises(TaskRevokedError, match="terminated"):
            AsyncResult(target).get(timeout=60)
        running.append(endings.wait_for_file.delay(str(notes), str(go_on)).id)
        wait_until(lambda n=number: len(notes.read_text().splitlines()) == 9 + n, what="the next task to run")
        assert {each["id"] for each in ask(node).active()} == set(running)
    go_on.touch()
    assert {AsyncResult(task_id).get(timeout=60) for task_id in running} == {"done"}


@on_sqlite
def test_the_terminal_does_not_wait_for_a_command_without_replies(
    start_worker: StartWorker, processes: Processes
) -> None:
    environment = workers.as_environment({})
    worker = start_worker("-n", "ends@here")
    assert processes.start("taskinspect", "ping", "-d", "other@here", "-t", "0.2", **environment).wait() == 69
    out = processes.run("taskcontrol", "shutdown", "-d", "ends@here", "-t", "600", **environment)
    assert out == "sent: shutdown, which has no reply\n"
    assert worker.wait() == 0
    assert processes.start("taskstatus", "-t", "0.2", **environment).wait() == 69


# -- commands of one's own, and messages that are none


@on_sqlite
def test_commands_of_an_app(start_worker: StartWorker, processes: Processes) -> None:
    node = node_of(start_worker())
    environment = workers.as_environment({})
    out = processes.run("taskcontrol", "increase", "3", "-t", "20", "-d", node, **environment)
    assert out == f"->  {node}: OK\n        3 in {node}\n"
    assert "increase [by=1]\n      Increase a number of the worker." in processes.run(
        "taskcontrol", "--help", **environment
    )
    assert ask(node).ask("current_number", words=["a"]) == {"number": 3, "words": ["a"]}
    assert ask(node).ask("number") == {"number": 3, "words": []}
    assert "error" in ask(node).ask("strange", what="object")
    assert ask(node).ask("strange", what="exit") == {"error": "SystemExit(3)"}
    assert ask(node).ping() == {"ok": "pong"}


class Exploit:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


#: Stands for the exchange of replies, whose name the namespace decides.
REPLIES = "the replies'"
EXCHANGES = [
    "",
    "amq.direct",
    "amq.fanout",
    "amq.rabbitmq.trace",
    "taskq",
    "x" * 300,
    "\x00",
    "\ud800",
    "never declared",
]
KEYS = ["nobody", "x" * 256, "ä" * 200, "x" * 900_000, "\x00", "\ud800", "\n", "#"]
HOSTILE: list[Any] = [
    "text",
    [1, 2],
    {"method": None},
    {"method": "ping", "arguments": {"state": 1}},
    {"method": "active", "arguments": {"safe": {"a": []}}},
    {"method": "revoke", "arguments": {"task_id": {"x": 1}}},
    {"method": "revoke", "arguments": {"task_id": ["a" * 10_000, "\x00", "\ud800", ""]}},
    {"method": "revoke", "arguments": {"task_id": "x", "terminate": True, "signal": {"a": 1}}},
    {"method": "add_consumer", "arguments": {"queue": ["q"], "exchange": 5}},
    {"method": "add_consumer", "arguments": {"queue": "q", "exchange": "e", "exchange_type": "fanout", "bindings": 3}},
    {"method": "cancel_consumer", "arguments": {"queue": {"a": 1}}},
    {"method": "pool_grow", "arguments": {"n": "many"}},
    {"method": "time_limit", "arguments": {"task_name": ["x"], "hard": "x"}},
    {"method": "query_task", "arguments": {"ids": [[1], {"a": 2}, None, "x" * 100_000]}},
    {"method": "registered", "arguments": {"taskinfoitems": ["__class__", {"x": 1}]}},
    {"method": "revoke_by_stamped_headers", "arguments": {"headers": {"a": {"b": [1]}}}},
    {"method": "revoke_by_name", "arguments": {"pattern": ["x"]}},
    {"method": "hello", "arguments": {"from_node": ["x"], "revoked": {"a": "b"}}},
    *({"method": "ping", "reply_to": {"exchange": name, "routing_key": "x"}, "ticket": 5} for name in EXCHANGES),
    *({"method": "ping", "reply_to": {"exchange": REPLIES, "routing_key": key}, "ticket": key} for key in KEYS),
    {"method": "conf", "arguments": {"with_defaults": True}, "reply_to": {"exchange": REPLIES, "routing_key": "none"}},
    {"method": "ping", "pattern": "(", "matcher": "pcre"},
    {"method": "ping", "destination": {"a": [1]}},
    {"method": "x" * 200_000},
    {"method": "__class__", "arguments": {"x": "y" * 2_000_000}},
]


def publish_hostile(path: str) -> None:
    exchange: Exchange = mailbox_exchange()
    connection: Connection
    with connect() as connection:
        producer = connection.Producer(serializer="json")
        declared: Any = {"exchange": exchange, "declare": [exchange]}
        for body in HOSTILE:
            if isinstance(body, dict) and body.get("reply_to", {}).get("exchange") == REPLIES:
                body = body | {"reply_to": body["reply_to"] | {"exchange": reply_exchange().name}}
            producer.publish(body, **declared, headers={"clock": {"a": 1}, "expires": "never"})
        for method in ("zlib", "gzip", "nonsense", "x" * 300):
            producer.publish({"method": "ping"}, **declared, headers={"compression": method})
        producer.publish({"method": "ping", "x": "y" * 10_000_000}, **declared, compression="zlib")
        producer.publish({"method": "ping"}, **declared, headers={"clock": 2**62, "expires": [1]})
        producer.publish(Exploit(path), **declared, serializer="pickle")
        for raw in (b"\xff\xfe", b"{" * 100_000, b'{"method": "ping", "arguments": {"n": ' + b"9" * 5000 + b"}}"):
            producer.publish(raw, **declared, content_type="application/json", content_encoding="utf-8")


@on_sqlite
def test_hostile_messages_over_the_database(start_worker: StartWorker, tmp_path: Path) -> None:
    check_hostile(start_worker(), tmp_path / "made")


@on_sqlite
def test_hostile_messages_over_another_broker(
    start_worker: StartWorker, remote: dict[str, str], tmp_path: Path
) -> None:
    check_hostile(start_worker(**remote), tmp_path / "made")


def check_hostile(worker: Process, made: Path) -> None:
    publish_hostile(str(made))
    assert ask(node_of(worker)).ping() == {"ok": "pong"}
    assert ask(node_of(worker)).stats()["pid"] == worker.pid
    assert not made.exists()
    assert "taskq-remote" not in worker.log
    # Nothing of this has ended the connection, for which the others would pay.
    assert "Remote control has no connection" not in worker.log
    assert worker.stop() == 0, worker.log
