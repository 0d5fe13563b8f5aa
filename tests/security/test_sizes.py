"""Whoever can write messages can't fill the memory of a worker's main process, and its next task starts.

The attacker writes rows past all that checks what is sent: small bodies that open to 300 MiB, and large texts.
"""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from kombu import Connection
from pytest_django import DjangoDbBlocker

from taskq import AsyncResult, chain, ids
from taskq.exceptions import InvalidTaskError, TaskRevokedError
from taskq.messages.arguments import ALL_MASKED
from taskq.models import Group, Message, TaskRun
from taskq.workflows.rests import MOST_STEPS
from testproject.arithmetic.tasks import add
from tests.support import workers
from tests.support.databases import Database
from tests.support.processes import Process
from tests.support.waiting import wait_until

pytestmark = pytest.mark.parametrize("database", ["postgresql", "sqlite"], indirect=True, scope="module")

MIB = 1024 * 1024
#: 300 MiB of zeros.
BOMB = (
    "QlpoOTFBWSZTWQ4J4t8BX45AAMAAAAggADCATUZCoCWpCoCXMUFZJlNZDgni3wFfjkAAwAAACCAAMIBNRkKgJakKgJcxQVkmU1kOCeLfAV+OQADAAAAI"
    "IAAwgE1GQqAlqQqAlzFBWSZTWQ4J4t8BX45AAMAAAAggADCATUZCoCWpCoCXMUFZJlNZDgni3wFfjkAAwAAACCAAMIBNRkKgJakKgJcxQVkmU1kOCeLf"
    "AV+OQADAAAAIIAAwgE1GQqAlqQqAlzFBWSZTWaJ1bucBLBJABMAAAAEACCAAMMwFKaYiBSNiRApHi7kinChIKup7h4A="
)
BZIP2 = {"compression": "application/x-bz2"}
BASE64 = '{"body_encoding": "base64"}'
#: The most resident memory of the main process, in MiB.
MOST = 200
#: The most that one of these attacks adds, in MiB. Each of them would add at least 40. To measure a text, SQLite makes
#: three copies of it: of 5 MiB, here.
GROWTH = 24
ADD = "testproject.arithmetic.tasks.add"
BODY = '[[2, 2], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}'
PAST = "2020-01-01T00:00:00+00:00"


@pytest.fixture(scope="module")
def worker(
    database: Database, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Process]:
    """One worker for all attacks. It would like to hold 200 messages, and has to live to the end."""
    with django_db_blocker.unblock(), workers.on(database, tmp_path_factory.mktemp("workers")) as processes:
        options = ("-c", "2", "--prefetch-multiplier", "100")
        sizes = {"MAX_PREFETCH_SIZE": MIB, "MAX_MESSAGE_SIZE": 5 * MIB}
        # Nothing wakes the worker up for a row that was written past what sends.
        worker = workers.start_worker(processes, *options, POLL_INTERVAL=0.1, **sizes)
        # SQLite keeps pages of what it has read: they count for none of the attacks, whichever comes first.
        for task_id in insert_many(database.alias, 4, BODY + " " * 5 * MIB + "]", {}):
            assert isinstance(AsyncResult(task_id).get(timeout=60, propagate=False), InvalidTaskError)
        yield worker
        assert worker.stop() == 0, worker.log


@pytest.fixture
def alias(worker: Process, database: Database, django_db_blocker: DjangoDbBlocker) -> Iterator[str]:
    """The alias of the worker's database."""
    with django_db_blocker.unblock():
        yield database.alias


def message(body: str, headers: dict[str, Any], **columns: Any) -> Message:
    """Return a message that nothing has checked."""
    values = {"queue": "taskq", "properties": "{}", "created_at": datetime.now(UTC)} | columns
    return Message(headers=json.dumps(headers), body=body, **values)


def insert(alias: str, body: str, *, headers: dict[str, Any] | None = None, **columns: Any) -> AsyncResult[Any]:
    """Write a message for ``add`` into the queue."""
    task_id = ids.new_id()
    headers = {"task": ADD, "id": task_id, "lang": "py"} | (headers or {})
    message(body, headers, task_id=task_id, **columns).save(using=alias)
    return AsyncResult(task_id)


def bomb(alias: str, headers: dict[str, Any], **columns: Any) -> AsyncResult[Any]:
    """Write a message whose body opens to 300 MiB."""
    return insert(alias, BOMB, headers=BZIP2 | headers, properties=BASE64, **columns)


def memory(worker: Process, kind: str) -> float:
    """Return the resident memory of the main process in MiB: ``VmRSS`` or, since the last reset, ``VmHWM``."""
    status = Path(f"/proc/{worker.pid}/status").read_text()
    return int(status.partition(f"{kind}:")[2].split()[0]) / 1024


@pytest.fixture
def growth() -> int:
    """The most that the attack of a test may add, in MiB."""
    return GROWTH


@pytest.fixture
def unharmed(alias: str, worker: Process, growth: int) -> Iterator[None]:
    """Check that the worker runs the next task, that nothing waits any more, and how much memory it took."""
    before = memory(worker, "VmRSS")
    Path(f"/proc/{worker.pid}/clear_refs").write_text("5")  # the most memory counts from now
    yield
    assert add.delay(2, 2).get(timeout=60) == 4
    wait_until(lambda: not Message.objects.using(alias).exists(), 60, what="an empty queue")
    most = memory(worker, "VmHWM")
    assert most < MOST
    assert most - before < growth


@pytest.mark.parametrize(
    ("headers", "columns", "state"),
    [
        ({}, {}, "FAILURE"),
        ({"expires": PAST}, {}, "REVOKED"),
        ({"task": "no.such.task"}, {}, "FAILURE"),
        ({"retries": "many"}, {}, "FAILURE"),
        ({}, {"redelivered": True, "deliveries": 3}, "FAILURE"),
        ({}, {"revoked": "revoke"}, "REVOKED"),
        ({"task": None}, {}, "FAILURE"),
    ],
    ids=["runs", "expired", "unknown", "refused", "lost", "revoked", "protocol-1"],
)
@pytest.mark.usefixtures("unharmed")
def test_a_body_that_opens_to_300_mib(alias: str, headers: dict[str, Any], columns: dict[str, Any], state: str) -> None:
    result = bomb(alias, headers, **columns)
    result.get(timeout=60, propagate=False)
    assert result.state == state


def test_a_caller_that_revokes_opens_nothing(alias: str) -> None:
    result = bomb(alias, {}, queue="another")
    tracemalloc.start()
    try:
        result.revoke()
        assert tracemalloc.get_traced_memory()[1] < 20 * MIB
    finally:
        tracemalloc.stop()
    assert result.state == "REVOKED"


def test_a_kombu_consumer_opens_no_more_than_the_bound(alias: str) -> None:
    bomb(alias, {}, queue="another")
    tracemalloc.start()
    try:
        with Connection(f"django://{alias}") as connection:
            received = connection.default_channel.basic_get("another", no_ack=True)
        assert tracemalloc.get_traced_memory()[1] < 40 * MIB
    finally:
        tracemalloc.stop()
    (_, error, _), *_ = received.errors
    assert isinstance(error, InvalidTaskError)
    assert "TASKQ_MAX_MESSAGE_SIZE" in str(error)


#: Bodies of nearly 3 MiB.
LARGE = {
    "text": BODY.replace("{}", json.dumps({"x": "x" * 3 * MIB})[: -MIB // 8] + '"}', 1) + "]",
    "lists": "[[" + "[]," * (MIB - MIB // 16) + "1], {}, {}]",
    "deep": "[" * (3 * MIB - 1),
    "astral": BODY.replace("callbacks", "\N{GRINNING FACE}") + " " * (3 * MIB - 200) + "]",
}


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("kind", LARGE)
def test_a_large_message_is_held_in_few_copies(alias: str, kind: str) -> None:
    result = insert(alias, LARGE[kind])
    add.delay(2, 2)  # it wakes the worker
    result.get(timeout=60, propagate=False)
    assert result.state == ("SUCCESS" if kind == "astral" else "FAILURE")


@pytest.mark.usefixtures("unharmed")
def test_a_long_chain_in_one_message_is_never_in_the_main_process(alias: str) -> None:
    # As another program sends it. Its second step waits in a queue that nobody reads.
    options = [{"task_id": f"step-{number}", "queue": "another"} for number in range(32_000)]
    steps = [{"task": ADD, "args": [2, 2], "kwargs": {}, "options": each, "immutable": True} for each in options]
    result = insert(alias, json.dumps([[2, 2], {}, {"chain": steps[::-1]}]))
    assert result.get(timeout=60) == 4
    assert Message.objects.using(alias).filter(queue="another").values_list("task_id", flat=True).get() == "step-0"
    rests = Group.objects.using(alias).filter(size=0, body__isnull=False)
    assert rests.count() == 32_000 / MOST_STEPS - 1
    rests.delete()
    Message.objects.using(alias).filter(queue="another").delete()


def signatures(kind: str, count: int = 8_000) -> list[dict[str, Any]]:
    """Return signatures of tasks in a queue that nobody reads, of some 200 bytes each."""
    options = [{"task_id": f"{kind}-{number}", "queue": "another"} for number in range(count)]
    return [{"task": ADD, "args": [2, 2], "kwargs": {}, "options": each, "immutable": True} for each in options]


def a_group(kind: str) -> dict[str, Any]:
    tasks = {"tasks": signatures(kind)}
    return {"task": "celery.group", "args": [], "kwargs": tasks, "options": {}, "subtask_type": "group"}


def a_task(*args: Any, name: str = ADD, **options: Any) -> dict[str, Any]:
    return {"task": name, "args": args, "kwargs": {}, "options": options}


def stop_parts(alias: str) -> None:
    """Delete the parts that are left to do, if there are any."""
    rows = Group.objects.using(alias)
    pending = rows.filter(group_id__startswith="pending:")
    # Whoever sends a part has locked its pending row, and writes the next one: none is left once nobody sends.
    wait_until(lambda: pending.delete() and not pending.exists(), what="no part to be sent")
    rows.filter(group_id__startswith="part:").delete()


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize(
    ("name", "args", "embed"),
    [
        (ADD, [2, 2], {"callbacks": signatures("callback", 5_000)}),
        ("celery.group", [signatures("group")], {}),
        ("celery.chord", [[a_task(2, 2)], a_group("body")], {}),
        (ADD, ["no", 2], {"errbacks": signatures("errback")}),
        # Each errback gets the arguments: 42 MB from a message of 130 KB.
        ("no.such.task", ["x" * 60_000], {"errbacks": [a_task(queue="another")] * 700}),
    ],
    ids=["callbacks", "group", "body", "errbacks", "arguments"],
)
def test_a_large_canvas_in_one_message_is_never_in_the_main_process(
    alias: str, name: str, args: list[Any], embed: dict[str, Any]
) -> None:
    insert(alias, json.dumps([args, {}, embed]), headers={"task": name})
    sent = Message.objects.using(alias).filter(queue="another")
    wait_until(sent.exists, what="the first part to be sent")
    stop_parts(alias)
    sent.delete()


@pytest.mark.usefixtures("unharmed")
def test_a_large_body_that_fails_is_never_in_the_main_process(alias: str) -> None:
    result = insert(
        alias, json.dumps([[[a_task("no", 2)], a_group("failing")], {}, {}]), headers={"task": "celery.chord"}
    )
    failed = TaskRun.objects.using(alias).filter(task_id__startswith="failing-", state="FAILURE")
    wait_until(failed.exists, what="the first part to fail")
    stop_parts(alias)
    result.forget()


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("growth", [8], ids=[""])
@pytest.mark.parametrize("times", [1, 8], ids=["one", "many"])
def test_a_large_result_is_never_in_the_main_process(alias: str, times: int) -> None:
    # Each returns 4 MiB. The messages are small, so the worker holds all of them at once.
    name = "tests.support.jobs.endings.repeat"
    results = [insert(alias, json.dumps([["x", 4 * MIB], {}, {}]), headers={"task": name}) for _ in range(times)]
    add.delay(2, 2)  # it wakes the worker
    for result in results:
        assert result.get(timeout=60) == "x" * 4 * MIB
    assert not Group.objects.using(alias).filter(group_id__startswith="result:").exists()


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("large", ["values", "argument"])
def test_lists_that_a_chord_hands_on_are_never_in_the_main_process(alias: str, large: str) -> None:
    # A list takes 3 bytes in a message, and 64 where it is opened.
    lists, few = [[]] * (MIB // 2), [[], []]
    member = a_task(lists if large == "values" else few, name="celery.accumulate")
    body = a_task(few if large == "values" else lists, name="celery.accumulate")
    result = insert(alias, json.dumps([[[member], body], {}, {}]), headers={"task": "celery.chord"})
    value = result.get(timeout=240)
    assert sorted(map(len, (value[0][0][0], value[1]))) == [2, MIB // 2]


# Its message of 3 MiB passes the main process as a text, with copies. Opened, the lists would make it 72 MiB more.
@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("growth", [60], ids=[""])
@pytest.mark.parametrize("before", [2, "no"], ids=["sent", "fails"])
def test_a_large_step_of_a_chain_is_never_in_the_main_process(alias: str, before: Any) -> None:
    # Behind it are more steps, so that the database keeps it until the step before has ended.
    large = add.si([[]] * MIB, 2).set(queue="another")
    result = chain(add.si(before, 2), large, *(add.si(2, 2) for _ in range(30))).apply_async()
    if before == 2:
        sent = Message.objects.using(alias).filter(queue="another")
        wait_until(sent.exists, what="the large step to be sent")
        sent.delete()
    else:
        assert isinstance(result.get(timeout=60, propagate=False), TypeError)
    Group.objects.using(alias).filter(size=0).delete()


# Their rows would pass the main process as texts.
@pytest.mark.usefixtures("unharmed")
def test_large_steps_of_a_chain_that_fails_stay_in_their_rows(alias: str) -> None:
    if connections[alias].vendor == "sqlite":
        pytest.skip("SQLite looks through their rows for the names of sensitive tasks in this process.")
    # A message has references to so many of them.
    large = [add.si("x" * 4_900_000, 2).set(queue="another") for _ in range(4)]
    result = chain(add.si("no", 2), *large, *(add.si(2, 2) for _ in range(30))).apply_async()
    assert isinstance(result.get(timeout=60, propagate=False), TypeError)
    Group.objects.using(alias).filter(size=0).delete()


@pytest.mark.usefixtures("unharmed")
def test_large_arguments_in_a_row_are_never_in_the_main_process(alias: str) -> None:
    # The task never runs, so the worker has to see to it that its row shows nothing that is sensitive.
    secret = {"task": "testproject.shop.tasks.charge", "args": [1, "the card"], "kwargs": {}}
    arguments = f"[[{'[],' * MIB} {json.dumps(secret)}], {{}}]"
    task_id, now = ids.new_id(), datetime.now(UTC)
    run = TaskRun.objects.using(alias).create(task_id=task_id, name=ADD, arguments=arguments, created_at=now)
    headers = {"task": ADD, "id": task_id, "expires": PAST}
    message(BODY + "]", headers, task_id=task_id, tracked=True).save(using=alias)
    assert isinstance(AsyncResult(task_id).get(timeout=60, propagate=False), TaskRevokedError)
    run.refresh_from_db()
    assert run.arguments == ALL_MASKED


# Each of them gets the value, which passes the main process in one message after the other.
@pytest.mark.parametrize("growth", [60])
@pytest.mark.usefixtures("unharmed")
def test_a_large_value_goes_on_to_several_callbacks(alias: str) -> None:
    body = json.dumps([["x" * 4 * MIB], {}, {"callbacks": [a_task(1, queue="another") for _ in range(12)]}])
    insert(alias, body, headers={"task": "celery.accumulate"})
    sent = Message.objects.using(alias).filter(queue="another")
    wait_until(lambda: sent.count() == 12, 60, what="the callbacks to be sent")
    sent.delete()


# A task raises what it was given, and all that was to follow fails with it: 25 MB from a message of 100 KB.
@pytest.mark.usefixtures("unharmed")
def test_many_tasks_get_the_beginning_of_a_long_exception(alias: str) -> None:
    body = json.dumps([["x" * 50_000], {}, {"callbacks": signatures("after-long", 500)}])
    insert(alias, body, headers={"task": "testproject.shop.tasks.find_price"})
    failed = TaskRun.objects.using(alias).filter(task_id__startswith="after-long-", state="FAILURE")
    wait_until(lambda: failed.count() == 500, what="all to fail")
    assert {len(text or "") < 3_000 for text in failed.values_list("result", flat=True)} == {True}
    assert isinstance(AsyncResult("after-long-7").get(timeout=1, propagate=False), KeyError)


def insert_many(alias: str, count: int, body: str, headers: dict[str, Any]) -> list[str]:
    """Write many messages; return the ids of their tasks."""
    task_ids = [ids.new_id() for _ in range(count)]
    given = {"task": ADD, "lang": "py"} | headers
    Message.objects.using(alias).bulk_create(
        (message(body, given | {"id": task_id}, task_id=task_id) for task_id in task_ids), batch_size=5
    )
    return task_ids


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("character", ["x", "\N{GRINNING FACE}"], ids=["ascii", "astral"])
def test_many_large_messages_are_not_held_at_once(alias: str, character: str) -> None:
    # 48 MiB; or half of that, but one such character makes a Python text four times as large.
    size = 2 * MIB if character == "x" else MIB
    task_ids = insert_many(alias, 24, BODY.replace("callbacks", character) + " " * size + "]", {})
    wait_until(lambda: not Message.objects.using(alias).exists(), 120, what="an empty queue")
    assert {AsyncResult(task_id).state for task_id in task_ids} == {"SUCCESS"}


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize(
    ("count", "texts", "setting"),
    [
        (48, {"headers": {"padding": "x" * MIB}}, "TASKQ_MAX_HEADERS_SIZE"),
        (8, {"body": BODY + " " * 5 * MIB + "]"}, "TASKQ_MAX_MESSAGE_SIZE"),
    ],
    ids=["headers", "body"],
)
def test_messages_above_the_limits_are_refused_unread(
    alias: str, count: int, texts: dict[str, Any], setting: str
) -> None:
    ids = insert_many(alias, count, **{"body": BODY + "]", "headers": {}} | texts)
    assert len(ids) == count
    for task_id in ids:
        error = AsyncResult(task_id).get(timeout=60, propagate=False)
        assert isinstance(error, InvalidTaskError)
        assert setting in str(error)
