"""Fixtures of the admin's tests: rows made directly, and clients with different rights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import DataError, connection
from django.test import Client

from taskq.models import Attempt, Message, ScheduledMessage, TaskRun, Worker

#: When the rows' tasks were sent; a minute apart in the order they are made.
START = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def admin_user(db: None) -> User:
    """A superuser without a password: hashing one takes longer than a test. ``admin_client`` uses it."""
    return User.objects.create(username="admin", password="!", is_staff=True, is_superuser=True)


@pytest.fixture
def make_run(db: None) -> Callable[..., TaskRun]:
    def make(task_id: str = "run-1", **fields: Any) -> TaskRun:
        defaults = {"name": "shop.tasks.mail", "queue": "mails", "created_at": START}
        return TaskRun.objects.create(task_id=task_id, **{**defaults, **fields})

    return make


@pytest.fixture
def make_attempt(db: None) -> Callable[..., Attempt]:
    def make(task_id: str = "run-1", **fields: Any) -> Attempt:
        return Attempt.objects.create(task_id=task_id, **{"state": "RETRY", **fields})

    return make


@pytest.fixture
def make_worker(db: None) -> Callable[..., Worker]:
    def make(token: str = "boot-1", **fields: Any) -> Worker:
        defaults = {"name": "taskq@one", "host": "one", "pid": 4711, "started_at": START, "seen_at": datetime.now(UTC)}
        return Worker.objects.create(token=token, **{**defaults, **fields})

    return make


def _envelope(queue: str, fields: dict[str, Any]) -> dict[str, Any]:
    defaults = {"headers": "{}", "body": "[]", "properties": "{}", "created_at": START, "name": "shop.tasks.mail"}
    return {**defaults, "queue": queue, **fields}


@pytest.fixture
def make_messages(db: None) -> Callable[..., None]:
    def make(queue: str, count: int = 1, **fields: Any) -> None:
        Message.objects.bulk_create(Message(**_envelope(queue, fields)) for _ in range(count))

    return make


@pytest.fixture
def make_scheduled(db: None) -> Callable[..., None]:
    def make(queue: str, count: int = 1, **fields: Any) -> None:
        due = {"due_at": START + timedelta(days=1)}
        ScheduledMessage.objects.bulk_create(
            ScheduledMessage(**{**due, **_envelope(queue, fields)}) for _ in range(count)
        )

    return make


@pytest.fixture
def no_null_bytes(db: None) -> Iterator[None]:
    """Raise what PostgreSQL's client raises for a parameter with a null byte."""

    def refuse(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if any(isinstance(value, str) and "\0" in value for value in params or ()):
            raise DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(refuse):
        yield


@pytest.fixture
def staff_client(db: None) -> Callable[..., Client]:
    """Return a client logged in as staff with the given permissions of the app ``taskq``."""

    def make(*codenames: str) -> Client:
        user = User.objects.create(username="staff", password="!", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(content_type__app_label="taskq", codename__in=codenames))
        client = Client()
        client.force_login(user)
        return client

    return make
