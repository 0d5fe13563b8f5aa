from __future__ import annotations

import threading

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.test import override_settings

from taskq import AsyncResult
from taskq.testing import running_worker
from taskq.worker.node import WorkerNode
from tests.support.databases import registered

from . import tasks


def test_running_worker_returns_results_and_failures(taskq_worker: WorkerNode) -> None:
    assert tasks.add.delay(2, 2).get(timeout=60) == 4
    with pytest.raises(ValueError, match="boom"):
        tasks.fail.delay().get(timeout=60)
    parent = tasks.parent.delay().get(timeout=60)
    assert AsyncResult[int](parent).get(timeout=60) == 3


def test_tasks_see_committed_rows(taskq_worker: WorkerNode) -> None:
    with transaction.atomic():
        result = tasks.create_user.delay("ada")
    assert result.get(timeout=60) == User.objects.get(username="ada").pk


@pytest.mark.django_db(transaction=True)
def test_running_worker_leaves_no_thread_and_reads_only_its_queues() -> None:
    before = set(threading.enumerate())
    with running_worker(["other"]):
        assert tasks.add.apply_async((1, 1), queue="other").get(timeout=60) == 2
        waiting = tasks.add.delay(1, 1)
    assert [thread for thread in threading.enumerate() if thread not in before] == []
    assert waiting.state == "PENDING"


@pytest.mark.django_db
def test_running_worker_is_refused_inside_a_tests_transaction() -> None:
    with pytest.raises(RuntimeError, match="TransactionTestCase"), running_worker():
        pass


def test_running_worker_is_refused_on_a_database_in_memory() -> None:
    words = r"set DATABASES\['memory'\]\['TEST'\]\['NAME'\]"
    with (
        registered("memory", "sqlite://:memory:"),
        override_settings(TASKQ_DATABASE="memory"),
        pytest.raises(RuntimeError, match=words),
        running_worker(),
    ):
        pass


def test_running_worker_is_on_the_database_of_the_messages() -> None:
    with (
        registered("memory", "sqlite://:memory:"),
        override_settings(TASKQ_BROKER_URL="django://memory"),
        pytest.raises(RuntimeError, match="'memory'"),
        running_worker(),
    ):
        pass


@pytest.mark.django_db
def test_running_worker_is_on_the_database_of_the_results_if_messages_are_in_none() -> None:
    with (
        override_settings(TASKQ_BROKER_URL="memory://"),
        pytest.raises(RuntimeError, match="TransactionTestCase"),
        running_worker(),
    ):
        pass
