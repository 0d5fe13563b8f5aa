"""Large results: the row that the process of the task writes before goes into the run once, and is never left."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from django.db import DatabaseError, DataError, connections, transaction
from django.db.models import F

from taskq import states
from taskq.engines import for_alias, storage
from taskq.messages.values import decode_exception
from taskq.models import Group, KeptMessage, Message, Node, TaskRun
from taskq.models.fields import Octets
from taskq.records import Claimed, NewGroup, NewNode
from taskq.store import long_rests, retention, workers, workflow_rows
from taskq.store import settle as settling
from taskq.store.claim import claim
from taskq.store.enqueue import enqueue
from taskq.store.large_results import write_ahead
from taskq.store.settle import settle
from taskq_admin.queries import payloads, runs
from tests.conformance.store.standing_apart import ON_SQLITE, emptied_log, migrated_back, texts
from tests.support.envelopes import ending, envelope

TEXT = '"' + "ä" * 50_000 + "x" * 250_000 + '"'


def claimed(*envelopes: Any) -> tuple[str, list[Claimed]]:
    enqueue(envelopes)
    token = workers.register("w")
    return token, claim("taskq", 100, token)


def stored(message: Claimed, text: str = TEXT, **changes: Any) -> Any:
    """Return the end of a task whose result is in a row of its own."""
    key = write_ahead(text, message.task_id)
    return ending(message, result=text[:10], result_row=key, result_size=len(text), **changes)


def nothing_is_left(alias: str) -> bool:
    return not (Group.objects.using(alias).exists() or Message.objects.using(alias).exists() or texts(alias))


@pytest.mark.parametrize("tracked", [True, False])
def test_text_goes_into_the_run_and_its_row_is_deleted(alias: str, apart: int, tracked: bool) -> None:
    token, messages = claimed(envelope("x", tracked=tracked), envelope("y"))
    end, small = stored(messages[0]), ending(messages[1])
    assert texts(alias) == apart
    assert settle(token, [end, small]) == {message.id for message in messages}
    assert dict(TaskRun.objects.using(alias).values_list("task_id", "result")) == {"x": TEXT, "y": "3"}
    assert not Group.objects.using(alias).exists()
    assert texts(alias) == apart
    retention.forget(["x"])
    assert nothing_is_left(alias)


def test_queries_give_the_whole_result(alias: str) -> None:
    token, (message,) = claimed(envelope("x"))
    settle(token, [stored(message)])
    runs = TaskRun.objects.using(alias)
    assert runs.get().result == runs.only("task_id").get().result == TEXT
    assert runs.filter(result__contains="äx", result__isnull=False).values_list("result", Octets("result")).get() == (
        TEXT,
        len(TEXT.encode()),
    )
    assert not runs.filter(result=None).exists()


def test_admin_reads_the_beginning(alias: str) -> None:
    token, (message,) = claimed(envelope("x"))
    settle(token, [stored(message)])
    run = runs.find(TaskRun.objects.using(alias).get().pk)
    assert run is not None
    assert run.cut_result == TEXT[: payloads.LIMIT + 1]  # type: ignore[attr-defined]


def test_second_end_changes_nothing_and_leaves_no_row(alias: str, apart: int) -> None:
    """Of two deliveries of one task, in one batch and one after the other."""
    token, messages = claimed(envelope("x"), envelope("x"), envelope("x"), envelope("x"))
    settle(token, [stored(messages[0]), stored(messages[1], TEXT.replace("x", "y"))])
    settle(token, [stored(messages[2], TEXT.replace("x", "z"))])
    settle(token, [ending(messages[3])])
    assert TaskRun.objects.using(alias).get().result == TEXT
    assert texts(alias) == apart
    TaskRun.objects.using(alias).all().delete()
    assert nothing_is_left(alias)


def test_end_that_is_not_held_any_more_leaves_no_row(alias: str) -> None:
    token, (message,) = claimed(envelope("x"))
    Message.objects.using(alias).update(token="another")
    assert settle(token, [stored(message)]) == set()
    assert TaskRun.objects.using(alias).get().state == states.PENDING
    assert not Group.objects.using(alias).exists()


def test_first_end_without_a_large_result_stays(alias: str) -> None:
    token, messages = claimed(envelope("x"), envelope("x"))
    settle(token, [ending(messages[0], states.FAILURE, result="{}"), stored(messages[1])])
    assert TaskRun.objects.using(alias).values_list("state", "result").get() == (states.FAILURE, "{}")
    assert nothing_is_left(alias)


def test_row_that_is_gone_is_a_failure_that_says_so(alias: str) -> None:
    token, messages = claimed(envelope("x"), envelope("y"))
    ends = [stored(message) for message in messages]
    Group.objects.using(alias).filter(group_id=ends[0].result_row).delete()
    assert len(settle(token, ends)) == 2
    found = {run.task_id: run for run in TaskRun.objects.using(alias).all()}
    assert (found["y"].state, found["y"].result) == (states.SUCCESS, TEXT)
    assert found["x"].state == states.FAILURE
    assert "The stored result of x is gone" in str(decode_exception(found["x"].result))
    assert not Group.objects.using(alias).exists()


def test_success_that_becomes_a_failure_leaves_no_row(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    token, (message,) = claimed(envelope("x"))
    write_ends = settling.write_ends

    def refuse(engine: Any, settled: Any, rows: Any) -> None:
        if any(s.state == states.SUCCESS for s in settled):
            raise DataError("a value that does not fit")
        write_ends(engine, settled, rows)

    monkeypatch.setattr(settling, "write_ends", refuse)
    monkeypatch.setattr(type(for_alias(alias)), "refuses", lambda _, error: isinstance(error, DataError))
    settle(token, [stored(message)])
    run = TaskRun.objects.using(alias).get()
    assert run.state == states.FAILURE
    assert "does not fit" in str(decode_exception(run.result))
    assert nothing_is_left(alias)
    # Nothing follows the task: it is no part of a workflow because of its result.
    assert not KeptMessage.objects.using(alias).exists()


def test_result_that_is_kept_for_a_body_moves_and_one_that_is_dropped_does_not(alias: str, apart: int) -> None:
    token, messages = claimed(envelope("member"), envelope("dropped"))
    engine = for_alias(alias)
    nodes = [NewNode("root", name, "shop.add", group_id="g", position=n) for n, name in enumerate(["member", "other"])]
    workflow_rows.insert(engine, [NewGroup("g", 2, "{}", "root")], nodes)
    ends = {m.task_id: stored(m, keep=False, member=m.task_id == "member", group_id="g") for m in messages}
    settle(token, list(ends.values()))
    assert TaskRun.objects.using(alias).values_list("task_id", "result").get() == ("member", TEXT)
    assert Node.objects.using(alias).get(task_id="member").ignored
    assert Group.objects.using(alias).values_list("group_id", "remaining").get() == ("g", 1)
    assert engine.sizes_of_values(["g"]) == {"g": len(TEXT.encode())}
    assert [row[2] for row in engine.members("g", (-1, 0), 10)] == [TEXT, None]
    assert texts(alias) == apart


def test_nothing_is_written_before_in_a_transaction_of_the_task(alias: str) -> None:
    rests = [NewGroup("rest", 0, TEXT, "root")]
    with transaction.atomic(alias):
        assert write_ahead(TEXT, "x") == ""
        assert long_rests.write_ahead(rests) == rests
    # Django knows nothing of this one.
    with connections[alias].cursor() as cursor:
        cursor.execute("BEGIN")
        try:
            assert write_ahead(TEXT, "x") == ""
            assert long_rests.write_ahead(rests) == rests
        finally:
            cursor.execute("ROLLBACK")
    assert not Group.objects.using(alias).exists()


def test_task_that_is_sent_again_under_its_id(alias: str, apart: int) -> None:
    token, (message,) = claimed(envelope("x"))
    settle(token, [stored(message)])
    token, (message,) = claimed(envelope("x"))
    assert TaskRun.objects.using(alias).values_list("state", "result").get() == (states.PENDING, None)
    assert texts(alias) == 0
    settle(token, [stored(message, TEXT.replace("x", "y"))])
    assert TaskRun.objects.using(alias).get().result == TEXT.replace("x", "y")
    assert texts(alias) == apart


@pytest.mark.parametrize("kept", [timedelta(seconds=1), None])
def test_row_of_a_run_that_is_not_settled_stays_for_a_day_however_long_runs_are_kept(
    alias: str, settings: Any, kept: timedelta | None
) -> None:
    settings.TASKQ_RESULT_EXPIRES = settings.TASKQ_RESULT_FAILURE_EXPIRES = kept
    write_ahead(TEXT, "x")
    # A workflow that lives keeps none.
    Node.objects.using(alias).create(root_id="x", task_id="x", created_at=datetime.now(UTC))
    Group.objects.using(alias).update(created_at=F("created_at") - timedelta(hours=23))
    sum(retention.sweep({}, alias))
    assert Group.objects.using(alias).exists()
    Group.objects.using(alias).update(created_at=F("created_at") - timedelta(hours=2))
    sum(retention.sweep({}, alias))
    assert nothing_is_left(alias)


def test_settlement_counts_the_text_for_the_size_of_its_transaction(alias: str) -> None:
    _, (message,) = claimed(envelope("x"))
    assert stored(message).size == len(TEXT) + 10


@ON_SQLITE
def test_text_is_not_written_again_when_its_task_is_settled(alias: str) -> None:
    token, (message,) = claimed(envelope("x"))
    end = stored(message)
    log = emptied_log(alias)
    settle(token, [end])
    assert log.stat().st_size < len(TEXT)


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_postgresql_compresses_quickly_where_it_can(alias: str) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT 'lz4' = ANY(enumvals) FROM pg_settings WHERE name = 'default_toast_compression'")
        (can,) = cursor.fetchone() or (False,)
        cursor.execute(
            "SELECT attrelid::regclass::text, attname FROM pg_attribute WHERE attcompression = 'l' "
            "AND attrelid IN ('taskq_group'::regclass, 'taskq_taskrun'::regclass)"
        )
        assert dict(cursor.fetchall()) == (storage.COMPRESSED_1 if can else {})


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_server_that_lacks_the_method_migrates_all_the_same(alias: str) -> None:
    error = DatabaseError()
    error.__cause__ = cause = Exception()
    cause.sqlstate = "0A000"  # type: ignore[attr-defined]
    editor = SimpleNamespace(connection=connections[alias], execute=Mock(side_effect=error))
    storage.compress(storage.COMPRESSED_1, "lz4", editor)
    cause.sqlstate = "42501"  # type: ignore[attr-defined]
    with pytest.raises(DatabaseError):
        storage.compress(storage.COMPRESSED_1, "lz4", editor)


# -- the bodies of groups, which stand apart since then


def write_group(alias: str, body: str | None, size: int = 0) -> None:
    workflow_rows.insert(for_alias(alias), [NewGroup("g", size, body, "root")], ())


def test_large_body_of_a_group_stands_apart(alias: str, apart: int) -> None:
    write_group(alias, TEXT, size=1)
    groups = Group.objects.using(alias)
    assert groups.get().body == TEXT
    assert groups.filter(body__isnull=False).values_list("body", Octets("body")).get() == (TEXT, len(TEXT.encode()))
    assert texts(alias) == apart
    write_group(alias, TEXT.replace("x", "y"), size=1)  # it counts still: no text without a row
    assert (groups.get().body, texts(alias)) == (TEXT, apart)
    groups.update(remaining=0)
    write_group(alias, TEXT.replace("x", "y"), size=1)
    assert (groups.get().body, texts(alias)) == (TEXT.replace("x", "y"), apart)
    groups.update(body=F("body"))
    assert groups.get().body == TEXT.replace("x", "y")
    groups.update(body=None)
    assert (groups.filter(body__isnull=True).count(), texts(alias)) == (1, 0)
    groups.update(remaining=0)
    write_group(alias, TEXT)
    groups.all().delete()
    assert texts(alias) == 0


@ON_SQLITE
def test_whether_there_is_a_body_is_known_without_its_text(alias: str) -> None:
    assert "largetext" not in str(Group.objects.using(alias).filter(body__isnull=False).only("id").query)
    assert "largetext" not in str(TaskRun.objects.using(alias).filter(result__isnull=True).only("id").query)


@ON_SQLITE
def test_reversed_migration_writes_these_texts_back_and_no_others(alias: str) -> None:
    """As the version before reads the rows: it knows ``LargeText`` for messages and arguments."""
    token, messages = claimed(envelope("x"), envelope("y", arguments=f"[[{TEXT}], {{}}]"))
    settle(token, [stored(messages[0])])
    write_group(alias, TEXT)
    assert texts(alias) == 3
    with migrated_back(alias, "0018"):
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT result FROM taskq_taskrun UNION ALL SELECT body FROM taskq_group ORDER BY 1")
            assert cursor.fetchall() == [(None,), (TEXT,), (TEXT,)]
        assert texts(alias) == 1
    assert TaskRun.objects.using(alias).get(task_id="x").result == TEXT
    assert TaskRun.objects.using(alias).get(task_id="y").arguments == f"[[{TEXT}], {{}}]"
