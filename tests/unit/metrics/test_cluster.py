"""The figures from rows, and the command and the URL that give them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.db.models import F
from django.test import Client, override_settings
from django.urls import include, path

from taskq import states
from taskq.contrib.metrics import views
from taskq.management.commands import taskmetrics
from taskq.messages.parking import parking
from taskq.metrics import cluster
from taskq.metrics.exposition import CONTENT_TYPE, Family, render
from taskq.metrics.names import OTHER
from taskq.models import Message, ScheduledMessage, TaskRun, Worker
from taskq.timezones import now
from testproject.arithmetic.tasks import add, mul
from tests.support.exposition import Read, parse

pytestmark = pytest.mark.django_db(transaction=True)
urlpatterns = [path("monitoring/", include("taskq.contrib.metrics.urls"))]


def figures() -> dict[str, Read]:
    return parse(render(cluster.families()).decode())


def worker(name: str, **fields: object) -> Worker:
    row = {"token": f"t-{name}", "started_at": now(), "seen_at": now(), "info": json.dumps({"concurrency": 4})}
    return Worker.objects.create(**{**row, "name": name, **fields})


class TestQueues:
    def test_waiting_and_claimed_messages_are_counted_by_queue(self) -> None:
        for _ in range(3):
            add.apply_async((2, 2), queue="hipri")
        add.delay(2, 2)
        held = Message.objects.filter(queue="hipri").first()
        assert held is not None
        Message.objects.filter(pk=held.pk).update(token="t-w1")
        found = figures()
        assert found["taskq_queue_messages"].value(queue="hipri") == 2
        assert found["taskq_queue_messages"].value(queue="taskq") == 1
        assert found["taskq_queue_claimed_messages"].value(queue="hipri") == 1
        assert found["taskq_queue_claimed_messages"].value(queue="taskq") == 0

    def test_the_oldest_message_counts_whatever_its_priority(self) -> None:
        add.apply_async((2, 2), priority=0)
        Message.objects.update(created_at=F("created_at") - timedelta(seconds=90))
        add.apply_async((2, 2), priority=9)
        assert 90 <= figures()["taskq_queue_oldest_message_age_seconds"].value(queue="taskq") < 150

    def test_messages_that_wait_for_a_rate_limit_wait_in_their_queue(self) -> None:
        add.delay(2, 2)
        mul.delay(2, 2)
        Message.objects.filter(name=mul.name).update(queue=parking("taskq", mul.name))
        (value,) = figures()["taskq_queue_messages"].values.values()
        assert value == 2

    def test_a_queue_that_a_worker_reads_has_its_zeros(self) -> None:
        worker("w1", info=json.dumps({"queues": ["images"]}))
        found = figures()
        assert found["taskq_queue_messages"].value(queue="images") == 0
        assert found["taskq_queue_oldest_message_age_seconds"].value(queue="images") == 0

    def test_scheduled_messages_are_counted_by_queue(self) -> None:
        for _ in range(2):
            add.apply_async((2, 2), countdown=3600, queue="hipri")
        assert ScheduledMessage.objects.count() == 2
        assert figures()["taskq_scheduled_messages"].value(queue="hipri") == 2

    def test_counts_stop(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("MOST", "LEAST", "MOST_SCHEDULED", "MOST_TASKS"):
            monkeypatch.setattr(cluster, name, 3)
        for _ in range(5):
            add.delay(2, 2)
            add.apply_async((2, 2), countdown=3600)
        found = figures()
        assert found["taskq_queue_messages"].value(queue="taskq") == 3
        assert found["taskq_queue_messages_limit"].value() == 3
        assert found["taskq_scheduled_messages"].value(queue="taskq") == 3
        assert found["taskq_tasks"].value(state="PENDING", name=add.name) == 3

    def test_counts_of_many_queues_stop_together(self) -> None:
        most = cluster.MANY_QUEUES
        # Besides as many parkings.
        assert 2 * most * cluster._most(2 * most) <= cluster.MOST_TOGETHER

    def test_only_so_many_queues_have_a_label(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cluster, "MANY_QUEUES", 2)
        for number in range(5):
            add.apply_async((2, 2), queue=f"q{number}")
            add.apply_async((2, 2), queue=f"q{number}", countdown=3600)
        found = figures()
        assert len(found["taskq_queue_messages"].values) == 2
        assert found["taskq_scheduled_messages"].value(queue=OTHER) == 3


class TestTasks:
    def test_tasks_are_counted_by_state_and_name(self) -> None:
        add.delay(2, 2)
        TaskRun.objects.update(state="PROGRESS")
        mul.delay(2, 2)
        mul.delay(2, 2)
        found = figures()["taskq_tasks"]
        assert found.value(state="PROGRESS", name=add.name) == 1
        assert found.value(state=states.PENDING, name=mul.name) == 2
        assert len(found.values) == 2

    def test_names_that_no_task_has_share_a_label(self) -> None:
        rows = (TaskRun(task_id=str(n), name=f"hostile.{n}", created_at=now()) for n in range(50))
        TaskRun.objects.bulk_create(rows)
        found = figures()["taskq_tasks"]
        assert len(found.values) == 21
        assert found.value(state=states.PENDING, name=OTHER) == 30


class TestWorkers:
    def test_workers_are_counted_by_state(self) -> None:
        worker("w1")
        worker("w2", state="stopping", info=json.dumps({"concurrency": 2}))
        worker("w3", seen_at=now() - timedelta(hours=1))
        worker("w4", state=Worker.LOST)
        worker("kombu", state=Worker.CONSUMER)
        found = figures()
        counts = {dict(labels)["state"]: value for (_, labels), value in found["taskq_workers"].values.items()}
        assert counts == {"running": 1, "stopping": 1, "silent": 1, "lost": 1}
        assert found["taskq_workers_slots"].value() == 6

    @pytest.mark.parametrize("info", ["", "[]", "{", '{"concurrency": "8", "queues": [1, null]}', '{"queues": 3}'])
    def test_what_a_worker_of_another_version_wrote_does_no_harm(self, info: str) -> None:
        worker("w1", info=info)
        found = figures()
        assert found["taskq_workers"].value(state="running") == 1
        assert found["taskq_workers_slots"].value() == 0


class TestCommand:
    def test_prints_what_a_strict_reader_takes(self) -> None:
        add.delay(2, 2)
        out = StringIO()
        call_command("taskmetrics", stdout=out)
        assert parse(out.getvalue())["taskq_queue_messages"].value(queue="taskq") == 1

    def test_ends_with_an_error_while_the_database_is_away(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def away() -> list[Family]:
            raise OperationalError("connection refused")

        monkeypatch.setattr(taskmetrics, "families", away)
        with pytest.raises(CommandError, match="The database does not answer: connection refused"):
            call_command("taskmetrics")


class TestUrl:
    url = "/monitoring/metrics"

    @pytest.fixture(autouse=True)
    def _settings(self) -> Iterator[None]:
        with override_settings(ROOT_URLCONF=__name__, TASKQ_METRICS_TOKEN="a secret"):
            yield

    def test_the_token_opens_it(self, client: Client) -> None:
        add.delay(2, 2)
        answer = client.get(self.url, headers={"Authorization": "Bearer a secret"})
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == CONTENT_TYPE
        assert "no-store" in answer.headers["Cache-Control"]
        assert parse(answer.content.decode())["taskq_queue_messages"].value(queue="taskq") == 1

    @pytest.mark.parametrize("given", [None, "", "Bearer", "Bearer ", "Bearer wrong", "Basic a secret", "a secret"])
    def test_nothing_else_opens_it(self, client: Client, given: str | None) -> None:
        answer = client.get(self.url, headers={} if given is None else {"Authorization": given})
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert b"taskq_" not in answer.content

    @pytest.mark.parametrize("given", ["Bearer", "Bearer ", "Bearer None", "Bearer a secret"])
    def test_without_a_token_in_the_settings_no_token_opens_it(self, client: Client, given: str) -> None:
        with override_settings(TASKQ_METRICS_TOKEN=None):
            assert client.get(self.url, headers={"Authorization": given}).status_code == 401

    def test_staff_with_the_permissions_see_it(self, client: Client) -> None:
        user = User.objects.create_user("ops", is_staff=True)
        client.force_login(user)
        assert client.get(self.url).status_code == 403
        names = ["view_taskrun", "view_message", "view_worker"]
        user.user_permissions.set(Permission.objects.filter(content_type__app_label="taskq", codename__in=names))
        assert client.get(self.url).status_code == 200
        User.objects.update(is_staff=False)
        assert client.get(self.url).status_code == 403

    def test_only_get_and_head(self, client: Client) -> None:
        headers = {"Authorization": "Bearer a secret"}
        assert client.post(self.url, headers=headers).status_code == 405
        answer = client.head(self.url, headers=headers)
        assert (answer.status_code, answer.content) == (200, b"")

    def test_a_database_that_is_away_is_said_without_its_address(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def away() -> list[Family]:
            raise OperationalError('connection to "10.0.0.7" failed')

        monkeypatch.setattr(views, "families", away)
        answer = client.get(self.url, headers={"Authorization": "Bearer a secret"})
        assert (answer.status_code, answer.content) == (503, b"The database does not answer.\n")


def test_the_token_is_masked_where_settings_are_shown() -> None:
    with override_settings(TASKQ_METRICS_TOKEN="a secret"):
        out = StringIO()
        call_command("taskreport", stdout=out)
    assert "TASKQ_METRICS_TOKEN: '********'" in out.getvalue()
    assert "a secret" not in out.getvalue()
