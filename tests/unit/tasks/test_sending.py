from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.db import transaction
from django.test import TestCase, override_settings

from taskq import asend_task, group, send_task, task
from taskq.exceptions import EncodeError, QueueNotFound
from taskq.records import Envelope
from taskq.results.async_result import AsyncResult
from taskq.sending import send

from .fixtures import Worker


@task
def add(x: int, y: int) -> int:
    return x + y


@task(sensitive=("password",))
def login(user: str, password: str) -> None: ...


@task
def spread() -> list[str]:
    return [add.delay(1, 2).id, add.apply_async((3, 4), add_to_parent=False).id]


def body(envelope: Envelope) -> Any:
    return json.loads(envelope.body)


def test_delay_sends_one_message_and_returns_its_result(sent: list[Envelope]) -> None:
    result = add.delay(2, y=3)
    (envelope,) = sent
    assert isinstance(result, AsyncResult)
    assert result.id == envelope.task_id
    assert envelope.name == add.name
    assert envelope.queue == "taskq"
    assert body(envelope)[:2] == [[2], {"y": 3}]
    assert envelope.headers["root_id"] == result.id
    assert envelope.headers["parent_id"] is None
    assert envelope.tracked is True
    assert envelope.reset is False


def test_arguments_are_checked_only_with_typing(sent: list[Envelope]) -> None:
    add.delay(2)  # type: ignore[call-arg]
    assert len(sent) == 1
    with override_settings(TASKQ_TYPING=True), pytest.raises(TypeError, match="missing a required argument: 'y'"):
        add.delay(2)  # type: ignore[call-arg]
    strict = task(name="strict", typing=True)(lambda x: x)
    with pytest.raises(TypeError, match=r"strict\(\): too many positional arguments"):
        strict.apply_async((1, 2))
    assert len(sent) == 1


@pytest.mark.parametrize("args", ["ab", 3, {"a": 1}, iter([1])])
def test_args_must_be_a_list_or_a_tuple(sent: list[Envelope], args: Any) -> None:
    with pytest.raises(TypeError, match="must be a list or a tuple"):
        add.apply_async(args)


def test_kwargs_must_be_a_mapping(sent: list[Envelope]) -> None:
    with pytest.raises(TypeError, match="must be a mapping"):
        add.apply_async((), [1])  # type: ignore[arg-type]


def test_unknown_send_options_are_refused(sent: list[Envelope]) -> None:
    with pytest.raises(TypeError, match="no option 'countdwn': did you mean 'countdown'"):
        add.apply_async((1, 2), countdwn=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="no option 'lnk'"):
        add.apply_async((1, 2), lnk=[])  # type: ignore[call-arg]
    assert sent == []


def test_argument_that_can_not_be_encoded_is_named(sent: list[Envelope]) -> None:
    with pytest.raises(EncodeError, match=r"argument 'y' of .*add is an? User instance: pass its primary key"):
        add.delay(1, User())  # type: ignore[arg-type]
    assert sent == []


def test_options_reach_the_message(sent: list[Envelope]) -> None:
    eta = datetime.now(UTC) + timedelta(hours=1)
    add.apply_async(
        [1, 2],
        eta=eta,
        expires=eta + timedelta(hours=1),
        task_id="mine",
        queue="lopri",
        priority=7,
        time_limit=20,
        soft_time_limit=10,
        ignore_result=True,
        headers={"tenant": "a"},
        shadow="addition",
        argsrepr="(...)",
        group_id="g",
        group_index=3,
        retries=2,
        retry=False,
        retry_policy={"max_retries": 1},
    )
    (envelope,) = sent
    headers = envelope.headers
    assert (envelope.task_id, envelope.queue, envelope.priority, envelope.reset) == ("mine", "lopri", 7, True)
    assert headers["eta"] == eta.isoformat()
    assert 3590 < envelope.delay <= 3600
    assert envelope.expires == (eta + timedelta(hours=1)).timestamp()
    assert headers["timelimit"] == [20, 10]
    assert headers["ignore_result"] is True
    assert headers["tenant"] == "a"
    assert (headers["shadow"], headers["argsrepr"], headers["kwargsrepr"]) == ("addition", "(...)", "{}")
    assert (headers["group"], headers["group_index"], headers["retries"]) == ("g", 3, 2)


def test_time_limits_of_definition_and_setting_are_in_the_message(sent: list[Envelope], worker: Worker) -> None:
    both = task(name="both", time_limit=20, soft_time_limit=10, bind=True)(lambda self: self.request.timelimit)
    none = task(name="none", bind=True)(lambda self: self.request.timelimit)
    with override_settings(TASKQ_TIME_LIMIT=300, TASKQ_SOFT_TIME_LIMIT=200):
        assert (none.time_limit, none.soft_time_limit) == (300, 200)
        assert (both.time_limit, both.soft_time_limit) == (20, 10)
        none.delay()
        both.delay()
        none.apply_async(time_limit=250)
        group(none.si()).delay()
        assert none.apply().get() == [300, 200]
    assert (none.time_limit, none.soft_time_limit) == (None, None)
    none.delay()
    both.apply_async(time_limit=5)
    limits = [[300, 200], [20, 10], [250, 200], [300, 200], [None, None], [5, 10]]
    assert [envelope.headers["timelimit"] for envelope in sent] == limits
    assert json.loads(worker.run().result or "") == [5, 10]


def test_properties_for_other_programs_travel_with_the_message(sent: list[Envelope], worker: Worker) -> None:
    def run(self: Any) -> Any:
        if self.request.retries:
            return self.request.properties
        raise self.retry()

    given = {"app_id": "shop", "message_id": "m", "type": "t", "user_id": "guest", "cluster_id": "c"}
    task(name="with_properties", bind=True)(run).apply_async(**given)
    again = worker.follow_up(worker.run())
    assert given.items() <= json.loads(worker.run(again).result or "").items()
    with pytest.raises(TypeError, match="app_id must be a string"):
        add.apply_async((1, 2), app_id=3)  # type: ignore[arg-type]


def test_limit_of_a_setting_contradicts_no_task(sent: list[Envelope]) -> None:
    short = task(name="short", time_limit=1)(lambda: None)
    slow = task(name="slow", soft_time_limit=500)(lambda: None)
    with override_settings(TASKQ_TIME_LIMIT=300, TASKQ_SOFT_TIME_LIMIT=200):
        short.delay()
        slow.delay()
    assert [envelope.headers["timelimit"] for envelope in sent] == [[1, 200], [300, 500]]


def test_time_limits_of_the_next_link_are_in_its_message(sent: list[Envelope], worker: Worker) -> None:
    limited = task(name="limited", time_limit=20)(lambda: None)
    (add.s(1, 2) | limited.si()).delay()
    assert worker.follow_up(worker.run()).headers["timelimit"] == [20, None]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"time_limit": 5, "soft_time_limit": 10}, ValueError),
        ({"priority": 10}, ValueError),
        ({"countdown": "soon"}, TypeError),
        ({"retry_policy": {"tries": 3}}, TypeError),
    ],
)
def test_invalid_send_options_are_refused(sent: list[Envelope], options: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        add.apply_async((1, 2), **options)


def test_task_options_are_defaults_of_its_messages(sent: list[Envelope]) -> None:
    own = task(name="own", queue="mail", priority=3, ignore_result=True, expires=60)(lambda: None)
    result = own.delay()
    own.apply_async(queue="other", priority=0, ignore_result=False, expires=6000)
    first, second = sent
    assert (first.queue, first.priority, first.headers["ignore_result"]) == ("mail", 3, True)
    assert result.ignored is True
    assert first.expires is not None
    assert (second.queue, second.priority, second.headers["ignore_result"]) == ("other", 0, False)
    assert second.expires is not None
    assert second.expires > first.expires + 5000


def test_routes_set_queue_priority_and_expiry_unless_the_call_does(sent: list[Envelope]) -> None:
    with override_settings(TASKQ_ROUTES={add.name: {"queue": "hipri", "priority": 5, "expires": 30}}):
        add.delay(1, 2)
        add.apply_async((1, 2), queue="lopri", expires=None)
    assert [envelope.queue for envelope in sent] == ["hipri", "lopri"]
    assert sent[0].priority == 5
    assert sent[0].headers["expires"] is not None
    with override_settings(TASKQ_CREATE_MISSING_QUEUES=False), pytest.raises(QueueNotFound, match="nowhere"):
        add.apply_async((1, 2), queue="nowhere")


def test_sensitive_arguments_are_masked(sent: list[Envelope]) -> None:
    login.delay("ann", "secret")
    login.delay("ann", password="secret")
    assert len(sent) == 2
    for envelope in sent:
        assert "secret" in envelope.body
        assert "secret" not in str(envelope.headers)
        assert envelope.arguments is not None
        assert "secret" not in envelope.arguments
        assert "ann" in envelope.arguments


def test_delay_many_sends_all_and_returns_results_in_order(sent: list[Envelope]) -> None:
    results = add.delay_many(((i, i) for i in range(1200)), queue="bulk")
    assert [result.id for result in results] == [envelope.task_id for envelope in sent]
    assert body(sent[-1])[0] == [1199, 1199]
    assert {envelope.queue for envelope in sent} == {"bulk"}
    assert add.delay_many([]) == []
    with pytest.raises(TypeError, match="task_id"):
        add.delay_many([(1, 2)], task_id="one")


def test_send_task_sends_by_name_with_options_of_known_tasks(sent: list[Envelope]) -> None:
    send_task("elsewhere.task", [1], {"a": 2}, queue="far")
    send_task("own.named")
    task(name="own.named", queue="mail")(lambda: None)
    send_task("own.named")
    assert [(envelope.name, envelope.queue) for envelope in sent] == [
        ("elsewhere.task", "far"),
        ("own.named", "taskq"),
        ("own.named", "mail"),
    ]


def test_async_sends_return_results(sent: list[Envelope]) -> None:
    async def main() -> list[str]:
        results = [await add.adelay(1, 2), await add.aapply_async((1, 2), queue="q"), await asend_task("x.y")]
        return [result.id for result in [*results, *await add.adelay_many([(1, 2)])]]

    assert async_to_sync(main)() == [envelope.task_id for envelope in sent]


def test_messages_sent_by_a_running_task_have_it_as_parent(sent: list[Envelope], worker: Worker) -> None:
    spread.apply_async(root_id="root")
    outcome = worker.run()
    parent, first, second = sent
    assert {first.headers["parent_id"], second.headers["parent_id"]} == {parent.task_id}
    assert {first.headers["root_id"], second.headers["root_id"]} == {"root"}
    assert json.loads(outcome.children or "") == [[[first.task_id, None], None]]
    assert json.loads(outcome.result or "") == [first.task_id, second.task_id]


def test_trail_false_keeps_no_children(sent: list[Envelope], worker: Worker) -> None:
    task(name="quiet", trail=False)(spread.run).delay()
    assert worker.run().children is None


def test_messages_are_untracked_when_pending_is_not_tracked(sent: list[Envelope]) -> None:
    with override_settings(TASKQ_TRACK_PENDING=False):
        add.delay(1, 2)
    assert sent[0].tracked is False


@pytest.mark.django_db(transaction=True)
def test_delay_on_commit_sends_after_commit_and_not_after_rollback(sent: list[Envelope]) -> None:
    with transaction.atomic():
        result = add.delay_on_commit(1, 2)
        assert uuid.UUID(result.id)
        assert sent == []
    assert [envelope.task_id for envelope in sent] == [result.id]
    add.apply_async_on_commit((1, 2), countdown=3)
    assert sent[1].delay > 2
    with transaction.atomic():
        add.delay_on_commit(1, 2)
        transaction.set_rollback(True)
    assert len(sent) == 2


@pytest.mark.django_db(transaction=True)
def test_eta_on_commit_is_not_put_off_by_the_transaction(sent: list[Envelope], monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(send, "time", SimpleNamespace(monotonic=lambda: now))
    with transaction.atomic():
        add.apply_async_on_commit((1, 2), eta=datetime.now(UTC) + timedelta(seconds=60))
        add.apply_async_on_commit((1, 2), eta=datetime.now(UTC) + timedelta(seconds=10))
        add.apply_async_on_commit((1, 2), countdown=60)
        now = 30.0
    at, passed, after = (envelope.delay for envelope in sent)
    assert 0 < at <= 30
    assert passed == 0
    assert after > 30


@pytest.mark.django_db
def test_delay_on_commit_raises_encode_errors_at_the_call(sent: list[Envelope]) -> None:
    with TestCase.captureOnCommitCallbacks(execute=True) as callbacks:
        add.delay_on_commit(1, 2)
        with pytest.raises(EncodeError):
            add.delay_on_commit(1, object())  # type: ignore[arg-type]
    assert len(callbacks) == len(sent) == 1


def test_async_result_of_a_task_by_id() -> None:
    assert add.AsyncResult("kept") == AsyncResult("kept")
