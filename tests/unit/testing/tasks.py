"""The tasks that the tests of ``taskq.testing`` send."""

from __future__ import annotations

from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import translation

from taskq import AsyncResult, task
from taskq.exceptions import Reject

NAME = "tests.unit.testing.tasks."
seen: list[Any] = []


@task(name=NAME + "add")
def add(x: int, y: int) -> int:
    return x + y


@task(name=NAME + "note")
def note(*args: Any, **kwargs: Any) -> None:
    seen.append((args, kwargs))


@task(name=NAME + "fail")
def fail() -> None:
    raise ValueError("boom")


@task(name=NAME + "boom")
def boom(value: Any) -> None:
    raise ValueError("boom")


@task(name=NAME + "total")
def total(values: list[int]) -> int:
    return sum(values)


@task(name=NAME + "same")
def same(value: Any) -> Any:
    return value


@task(name=NAME + "unstorable")
def unstorable() -> object:
    return object()


@task(name=NAME + "retry", bind=True, max_retries=2, default_retry_delay=60)
def retry(self: Any) -> int:
    if self.request.retries < 2:
        raise self.retry(exc=ValueError("not yet"))
    return int(self.request.retries)


@task(name=NAME + "for_ever", bind=True, max_retries=None, default_retry_delay=0)
def for_ever(self: Any) -> None:
    raise self.retry()


@task(name=NAME + "parent")
def parent() -> str:
    return add.delay(1, 2).id


@task(name=NAME + "waits")
def waits(allowed: bool) -> int:
    return add.delay(1, 2).get(disable_sync_subtasks=not allowed)


@task(name=NAME + "progress", bind=True)
def progress(self: Any) -> None:
    self.update_state(state="PROGRESS", meta={"done": 1})
    result = AsyncResult[Any](self.request.id)
    seen.append((result.state, result.info, self.request.is_eager))


@task(name=NAME + "rejects")
def rejects(requeue: bool) -> None:
    raise Reject("no", requeue=requeue)


@task(name=NAME + "rejects_once", bind=True)
def rejects_once(self: Any) -> str:
    if not self.request.delivery_info["redelivered"]:
        raise Reject("no reason", requeue=True)
    return "received two times"


@task(name=NAME + "leaves")
def leaves() -> None:
    raise SystemExit(3)


@task(name=NAME + "language")
def language() -> str:
    return translation.get_language()


@task(name=NAME + "create_user")
def create_user(name: str) -> int:
    return User.objects.create(username=name).pk


@task(name=NAME + "commits")
def commits() -> None:
    with transaction.atomic():
        transaction.on_commit(lambda: seen.append("committed"))
        note.delay_on_commit("later")


@task(name=NAME + "ignored", ignore_result=True)
def ignored() -> int:
    return 1


@task(name=NAME + "secret", sensitive=("password",))
def secret(user: str, password: str) -> str:
    return password


@task(name=NAME + "create_user_async")
async def create_user_async(name: str) -> list[str]:
    await User.objects.acreate(username=name)
    await sync_to_async(User.objects.create)(username=f"{name} again")
    return [user.username async for user in User.objects.order_by("pk")]


@task(name=NAME + "create_user_and_fail_async", bind=True, max_retries=1, default_retry_delay=0)
async def create_user_twice_async(self: Any) -> int:
    await User.objects.acreate(username=f"try {self.request.retries}")
    if not self.request.retries:
        raise self.retry()
    return await User.objects.acount()


@task(name=NAME + "add_async")
async def add_async(x: int, y: int) -> int:
    return x + y + await User.objects.acount()
