"""What type checkers have to say about tasks; checked by ``test_typing.py`` and never run.

A line that has to be an error carries ``type: ignore`` with its code: mypy
reports an ignore that is not needed.
"""

from __future__ import annotations

from collections.abc import Coroutine
from datetime import datetime, timedelta
from typing import Any, assert_type

from kombu.entity import Exchange, Queue

from taskq import (
    AsyncResult,
    Signature,
    Task,
    chain,
    chord,
    current_task,
    group,
    register,
    send_task,
    shared_task,
    signature,
    task,
)
from taskq.results.eager import EagerResult
from taskq.results.group_result import GroupResult
from taskq.tasks.decorator import CoroutineTask


@task
def add(x: int, y: int = 1) -> int:
    return x + y


@shared_task(queue="mail", max_retries=None, autoretry_for=(OSError,), retry_backoff=True)
def mail(to: str, *, copy: bool = False) -> None: ...


@task(bind=True, base=Task)
def bound(self: Task[..., Any], x: int) -> str:
    self.update_state(state="PROGRESS", meta={"done": 1})
    assert_type(self.request.id, str | None)
    raise self.retry(countdown=3, queue="slow")


@task
async def fetch(url: str) -> bytes:
    return url.encode()


@task(bind=True)
async def bound_fetch(self: Any, url: str) -> bytes:
    return url.encode()


@task(
    queue=Queue("q"), exchange=Exchange("e"), expires="2040-01-01T00:00:00Z", throws=ValueError,
    autoretry_for=[OSError], dont_autoretry_for=FileNotFoundError, sensitive=("path",),
    on_failure=lambda self, *args: print(self, args),
)  # fmt: skip
def load(path: str) -> None: ...


class Expected(Task[[str], None]):
    queue = Queue("q")
    expires = timedelta(hours=1)
    throws = ValueError
    autoretry_for = (OSError,)

    def run(self, path: str) -> None:
        raise self.retry(countdown=timedelta(seconds=3))


class Resize(Task[[str, int], float]):
    queue = "images"

    def run(self, path: str, width: int) -> float:
        return width / 2


resize = register(Resize)
also_resize = register(Resize())


def definitions() -> None:
    assert_type(add(2, 2), int)
    assert_type(add.name, str)
    assert_type(bound(3), str)
    assert_type(resize, Resize)
    assert_type(also_resize, Resize)
    assert_type(resize("a", 3), float)
    waits = assert_type(fetch("x"), Coroutine[Any, Any, bytes])
    assert_type(current_task.name, str)
    plain: Task[..., Any] = fetch
    kind: CoroutineTask[..., Any] = bound_fetch
    print(plain, kind, waits)


def calls() -> None:
    assert_type(add.delay(2, 2), AsyncResult[int])
    assert_type(add.delay(x=2), AsyncResult[int])
    assert_type(add.delay(2, 2).get(timeout=1), int)
    assert_type(add.apply_async((2, 2), countdown=10, queue="lopri"), AsyncResult[int])
    assert_type(add.apply((2, 2)), EagerResult[int])
    assert_type(add.delay_many([(1, 2), (3,)]), list[AsyncResult[int]])
    assert_type(add.delay_on_commit(1), AsyncResult[int])
    assert_type(add.apply_async_on_commit((1,), priority=3), AsyncResult[int])
    assert_type(add.AsyncResult("id").get(), int)
    assert_type(mail.delay("a", copy=True).get(), None)
    assert_type(bound.delay(3), AsyncResult[str])
    assert_type(fetch.delay("x"), AsyncResult[bytes])
    assert_type(bound_fetch.delay("x").get(), bytes)
    assert_type(resize.delay("a", 3), AsyncResult[float])
    assert_type(send_task("other", [1], queue="q"), AsyncResult[Any])
    soon, later = timedelta(seconds=3), "2040-01-01T00:00:00Z"
    add.apply_async((1, 2), queue=Queue("q"), exchange=Exchange("e"), countdown=soon, expires=later)
    add.apply_async((1, 2), eta=later, expires=soon)
    add.apply_async((1, 2), eta=datetime(2040, 1, 1), countdown=0.5)


def canvases() -> None:
    assert_type(add.s(2), Signature[int])
    assert_type(add.si(2, 2).set(queue="q").clone((1,)), Signature[int])
    assert_type(add.signature((2,), countdown=10), Signature[int])
    assert_type(add.s(2).delay(2), AsyncResult[int])
    assert_type(~add.s(2, 2), int)
    assert_type(add.s(2) | bound.s(), chain[str])
    assert_type((add.s(2) | bound.s()).apply_async().get(), str)
    assert_type(chord([add.s(2)], bound.s()), chord[str])
    assert_type(chord([add.s(2)], bound.s())(), AsyncResult[Any])
    assert_type(group(add.s(i) for i in range(3))(), GroupResult[int])
    assert_type(group(add.s(i) for i in range(3)).delay().get(), list[int])
    assert_type(group([add.s(2), add.s(3)]).apply_async(), GroupResult[int])
    assert_type(group(add.s(2)).delay(), GroupResult[int])
    assert_type(group(add.s(2), add.s(3)).apply(), GroupResult[int])
    assert_type(group(group(add.s(2)), queue="q").freeze(), GroupResult[int])
    assert_type(group(add.s(2), bound.s(3)).delay(), GroupResult[Any])
    assert_type(group([add.s(2), bound.s(3)])(), GroupResult[Any])
    assert_type(group(add.s(2) | bound.s(), bound.s(3))(), GroupResult[str])
    assert_type(group(add.s(2)) | bound.s(), chain[str])
    assert_type((add.s(2) | group(bound.s(), bound.s())).apply_async().get(), list[str])
    assert_type(chord(group(add.s(2), add.s(3)), bound.s()).delay(), AsyncResult[str])
    assert_type(add.map([1]).delay().get(), list[int])
    assert_type(add.chunks([(1, 2)], 1)(), GroupResult[list[int]])
    assert_type(add.chunks([(1, 2)], 1)().get(), list[list[int]])
    assert_type(signature("shop.tasks.mail").delay(), AsyncResult[Any])
    assert_type(chain(add.s(2), bound.s()).delay().get(), str)
    assert_type(chain(bound.s(1), add.s(2), queue="q")(), AsyncResult[int])
    assert_type(chain(add.s(2), group(bound.s(), bound.s())).delay().get(), list[str])
    assert_type(chain(add, bound), chain[Any])
    assert_type(chain([add.s(2), bound.s()]), chain[Any])
    joined = chain(add.s(2), bound.s())
    header = chord([add.s(2)])
    add.apply_async((1, 2), link=bound.s(), link_error=[mail.s()])
    print(joined, header)


async def coroutines() -> None:
    assert_type(await add.adelay(1, 2), AsyncResult[int])
    assert_type(await add.aapply_async((1, 2), expires=60), AsyncResult[int])
    assert_type(await add.delay(1, 2), int)
    assert_type(await fetch("x"), bytes)
    assert_type(await (await fetch.adelay("x")), bytes)


async def errors() -> None:
    add.delay("x")  # type: ignore[arg-type]
    add.delay()  # type: ignore[call-arg]
    add.delay(1, 2, 3)  # type: ignore[call-arg]
    add.delay(1, z=2)  # type: ignore[call-arg]
    add("x")  # type: ignore[arg-type]
    add.delay_on_commit("x")  # type: ignore[arg-type]
    await add.adelay("x")  # type: ignore[arg-type]
    bound.delay("x")  # type: ignore[arg-type]
    mail.delay("a", True)  # type: ignore[call-arg]
    fetch.delay(3)  # type: ignore[arg-type]
    bound_fetch.delay(3)  # type: ignore[arg-type]
    resize.delay(3, "a")  # type: ignore[arg-type]
    add.apply_async((1, 2), countdwn=3)  # type: ignore[call-arg]
    add.apply_async((1, 2), queue=3)  # type: ignore[arg-type]
    add.apply_async((1, 2), eta=3)  # type: ignore[arg-type]
    task(throws="ValueError")  # type: ignore[arg-type]
    add.s(2) | 3  # type: ignore[operator]
    task(max_retrys=3)  # type: ignore[call-overload]
