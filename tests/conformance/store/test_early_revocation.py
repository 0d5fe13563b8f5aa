"""A task that is revoked before its message exists never runs, whatever commits first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import transaction
from django.test import override_settings

from taskq import AsyncResult
from taskq.engines import for_alias
from taskq.exceptions import TaskRevokedError
from taskq.models import Message, Revocation, TaskRun
from taskq.store import retention, revocations, revoke
from taskq.store.claim import claim
from taskq.store.enqueue import enqueue
from tests.support.envelopes import envelope
from tests.support.jobs.flows import add


def flags(alias: str) -> dict[str, str]:
    """Claim all messages; return what was asked of them by task id."""
    return {message.task_id: message.revoked for message in claim("taskq", 10, "w", alias)}


def test_claim_says_which_messages_were_revoked_before_they_were_sent(alias: str) -> None:
    revoke.revoke(["a"])
    enqueue([envelope("a"), envelope("b")])
    assert flags(alias) == {"a": "revoke", "b": ""}


def test_untracked_message_in_the_schedule_is_refused_too(alias: str) -> None:
    revoke.revoke(["a"])
    enqueue([envelope("a", tracked=False), envelope("A", tracked=False), envelope("a ", tracked=False)])
    assert flags(alias) == {"a": "revoke", "A": "", "a ": ""}


def test_task_that_was_sent_leaves_no_revocation(alias: str) -> None:
    enqueue([envelope("a"), envelope("b", tracked=False)])
    revoke.revoke(["a", "b", "", "nul\x00"])
    assert not Revocation.objects.using(alias).exists()
    revoke.revoke(["a", "b"])
    assert not Revocation.objects.using(alias).exists()


def test_task_sent_while_it_is_revoked_is_found_after_the_commit(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    keep = revocations.keep

    def keep_late(*args: object) -> None:
        # A sender commits, and a worker claims, before the revocation is there.
        enqueue([envelope("waits"), envelope("held")])
        Message.objects.using(alias).filter(task_id="held").update(token="w")
        keep(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(revocations, "keep", keep_late)
    revoke.revoke(["waits", "held"])
    assert list(Message.objects.using(alias).values_list("task_id", "revoked")) == [("held", "revoke")]
    assert TaskRun.objects.using(alias).get(task_id="waits").state == "REVOKED"


def test_revoke_in_a_transaction_looks_again_after_its_commit(alias: str) -> None:
    with transaction.atomic(using=alias):
        revoke.revoke(["a"])
        enqueue([envelope("a")])
        Message.objects.using(alias).update(token="w")
    assert Message.objects.using(alias).get().revoked == "revoke"


def test_rolled_back_revoke_is_forgotten(alias: str) -> None:
    with transaction.atomic(using=alias):
        revoke.revoke(["a"])
        transaction.set_rollback(True, using=alias)
    enqueue([envelope("a")])
    assert flags(alias) == {"a": ""}


def test_old_revocations_are_deleted(alias: str) -> None:
    revoke.revoke(["old", "new", "renewed"])
    now = datetime.fromtimestamp(for_alias(alias).now(), UTC)
    Revocation.objects.using(alias).exclude(revoked_id="new").update(created_at=now - timedelta(hours=2))
    revoke.revoke(["renewed"])
    with override_settings(TASKQ_REVOKES_EXPIRE=3600):
        assert sum(retention.sweep({}, alias, 1)) == 1
    assert set(Revocation.objects.using(alias).values_list("revoked_id", flat=True)) == {"new", "renewed"}
    with override_settings(TASKQ_REVOKES_EXPIRE=None):
        assert sum(retention.sweep({}, alias)) == 0


def test_result_of_an_early_revoked_task_says_so_at_once(alias: str) -> None:
    frozen = add.s(1, 1)
    result = frozen.freeze()
    result.revoke()
    assert AsyncResult(result.id).state == "REVOKED"
    frozen.delay()
    assert (AsyncResult(result.id).state, AsyncResult("other").state) == ("REVOKED", "PENDING")
    with pytest.raises(TaskRevokedError, match="revoked"):
        AsyncResult(result.id).get(timeout=5)
