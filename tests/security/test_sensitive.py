"""A secret in each position that the API has: no row, header, page or line of the log shows it.

Only the message's body has it, and the stored body of a chord, until they are used.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.apps import apps
from django.test import Client
from django.urls import reverse
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from taskq import chain, chord, group, send_task, task
from taskq.calls.again import stored_arguments
from taskq.calls.registry import tasks
from taskq.canvas.maps import xmap
from taskq.canvas.signature import Signature
from taskq.exceptions import CannotRetry, EncodeError
from taskq.messages import arguments
from taskq.messages.arguments import ALL_MASKED
from taskq.models import Error, Group, Message, Node, ScheduledMessage, TaskRun
from taskq.store.large import keep
from taskq.store.promote import promote
from taskq.store.revoke import revoke
from taskq.store.settle import settle
from taskq.testing import override
from tests.support.databases import Database
from tests.support.worker_here import WorkerHere

SECRET = "hunter2-marked"


@task(sensitive=("password",))
def login(user: Any, password: Any = None) -> str:
    return "in"


@task(sensitive=("password",))
def unlock(password: Any) -> str:
    return "open"


@task(sensitive=("keys", "token", "extra"))
def vault(user: Any, *keys: Any, token: Any = None, **extra: Any) -> str:
    return "kept"


@task(sensitive=("password",))
def refused(user: Any, password: Any) -> None:
    raise ValueError("no")


@task(bind=True, sensitive=("password",), max_retries=1)
def tried_again(self: Any, user: Any, password: Any) -> str:
    if not self.request.retries:
        raise self.retry(args=({}, SECRET), countdown=0)
    user["put"] = password  # an argument that is shown, after it was sent
    return "in"


@task(bind=True, sensitive=("password",), max_retries=0)
def worn_out(self: Any, user: Any, password: Any) -> None:
    raise self.retry()


@task(bind=True, sensitive=("password",))
def replaced(self: Any, user: Any, password: Any) -> None:
    raise self.replace(login.si(user, password))


@task(sensitive=("password",))
def mourn(task_id: Any, password: Any = None) -> None:
    """An errback of the old style."""


@task(sensitive=("password",))
def explain(request: Any, exc: Any, traceback: Any, password: Any = None) -> None:
    """An errback of the new style, which fails."""
    raise ValueError("no")


@task
def carry(*args: Any, **kwargs: Any) -> int:
    return 1


@task
def fail(*args: Any, **kwargs: Any) -> None:
    raise ValueError("no")


TASKS = (login, unlock, vault, refused, tried_again, worn_out, replaced, mourn, explain, carry, fail)

#: Calls with the secret in a sensitive argument.
CALLS: dict[str, Callable[[], Any]] = {
    "by position": lambda: login.si("ann", SECRET),
    "by name": lambda: login.si(user="ann", password=SECRET),
    "partial": lambda: login.s("ann", SECRET),
    "nested": lambda: login.si("ann", {"deep": [SECRET]}),
    "surplus": lambda: login.si("ann", SECRET, SECRET),
    "misspelt": lambda: login.si("ann", pasword=SECRET),
    "variable": lambda: vault.si("ann", SECRET, SECRET),
    "by unknown names": lambda: vault.si("ann", token=SECRET, other=SECRET),
    "fails": lambda: refused.si("ann", SECRET),
    "is tried again": lambda: tried_again.si({}, SECRET),
    "has no retries left": lambda: worn_out.si("ann", SECRET),
    "is replaced": lambda: replaced.si("ann", SECRET),
    "map": lambda: unlock.map([SECRET, SECRET]),
    "map with arguments": lambda: xmap(login.s(SECRET), ["ann"]),
    "starmap": lambda: login.starmap([("ann", SECRET), ["ann", SECRET]]),
    "chunks": lambda: login.chunks([("ann", SECRET)] * 3, 2).group(),
}
#: Canvases and calls that carry another one.
AROUND: dict[str, Callable[[Any], Any]] = {
    "alone": lambda sig: sig,
    "argument": lambda sig: carry.si(sig, x={"y": [sig]}),
    "mapped": lambda sig: carry.map([sig, [sig]]),
    "step": lambda sig: chain(carry.si(), sig, carry.si()),
    "member": lambda sig: group(sig, carry.si()),
    "header": lambda sig: chord([sig, carry.si()], carry.s()),
    "body": lambda sig: chord([carry.si(), carry.si()], sig),
    "body that never runs": lambda sig: chord([fail.si(), carry.si()], sig),
    "link": lambda sig: _with(carry.si(), "link", sig),
    "link of another": lambda sig: _with(login.si("ann", SECRET), "link", sig),
    "errback": lambda sig: _with(fail.si(), "link_error", sig),
    "errback that is not called": lambda sig: _with(carry.si(), "link_error", sig),
}
#: Errbacks of a failure whose arguments are sensitive.
ERRBACKS = {
    "bad": lambda: mourn.s(SECRET).set(priority=99),
    "old": lambda: mourn.s(SECRET),
    "new": lambda: explain.s(password=SECRET),
    "explicit": lambda: mourn.si(1),
}


def _with(sig: Any, option: str, follower: Any) -> Any:
    made: dict[str, Any] = Signature(sig)
    (made.link if option == "link" else made.link_error)(follower)  # type: ignore[attr-defined]
    return made


@contextmanager
def _not_known(really: bool) -> Iterator[None]:
    """Send as a process that does not know the tasks."""
    for each in TASKS if really else ():
        tasks.remove(each.name)
    try:
        yield
    finally:
        for each in TASKS:
            tasks.add(each)


def _leaks(alias: str, but: tuple[Any, ...] = ()) -> list[str]:
    """Return the columns that show the secret; ``but`` are columns in which the work needs it."""
    return [
        f"{model.__name__}.{field.attname} = {value!r:.300}"
        for model in apps.get_app_config("taskq").get_models()
        for row in model._base_manager.using(alias).all()
        for field in model._meta.concrete_fields
        if (model, field.attname) not in but and SECRET in str(value := getattr(row, field.attname))
    ]


BODIES = ((Message, "body"), (ScheduledMessage, "body"), (Group, "body"))


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    caplog.set_level(logging.DEBUG, "taskq")

    def taken() -> str:
        text = caplog.text
        caplog.clear()
        return text

    return taken


def _work(alias: str, check: bool = False) -> None:
    """Run all messages; with ``check`` no row shows the secret in between."""
    worker = WorkerHere(alias)
    while promote(100, alias) or Message.objects.using(alias).exists():
        worker.work(1)
        if check:
            assert not _leaks(alias, BODIES)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@settings(max_examples=60, suppress_health_check=[*HealthCheck])
@given(
    call=st.sampled_from(list(CALLS)),
    around=st.lists(st.sampled_from(list(AROUND)), max_size=2),
    errback=st.none() | st.sampled_from(list(ERRBACKS)),
    known=st.booleans(),
    revoked=st.booleans(),
)
@example(call="fails", around=[], errback="new", known=False, revoked=False)
@example(call="map", around=["argument"], errback=None, known=False, revoked=False)
@example(call="has no retries left", around=[], errback=None, known=False, revoked=False)
@example(call="by position", around=[], errback=None, known=False, revoked=True)
@example(call="is tried again", around=[], errback=None, known=True, revoked=False)
@example(call="fails", around=[], errback="bad", known=True, revoked=False)
def test_no_row_and_no_line_shows_the_secret(
    clean_database: Database,
    lines: Callable[[], str],
    call: str,
    around: list[str],
    errback: str | None,
    known: bool,
    revoked: bool,
) -> None:
    clean_database.clear()
    alias = clean_database.alias
    sig = CALLS[call]()
    if errback is not None:
        sig = _with(sig, "link_error", ERRBACKS[errback]())
    for name in around:
        sig = AROUND[name](sig)
    assert SECRET not in repr(sig)
    with _not_known(not known):
        result = sig.apply_async()
    if known:
        assert not _leaks(alias, BODIES)
    if revoked:
        revoke([result.id], alias=alias)
    _work(alias, known)
    assert not Message.objects.using(alias).exists()
    assert not _leaks(alias)
    assert SECRET not in lines()


def test_rows_of_senders_that_know_no_task_are_masked_on_each_database(alias: str, lines: Callable[[], str]) -> None:
    with _not_known(True):
        ran = [CALLS[name]().apply_async() for name in ("by position", "fails", "is tried again", "starmap")]
        late = login.apply_async(("ann", SECRET), expires=-1)
        plain = send_task(carry.name, ("clear",), {"x": {"task": "clean", "args": [1]}})
    assert _leaks(alias, BODIES)
    _work(alias)
    assert not _leaks(alias)
    assert SECRET not in lines()
    runs = TaskRun.objects.using(alias)
    assert runs.get(task_id=ran[0].id).arguments == '[["ann", "********"], {}, {"masked": true}]'
    assert runs.get(task_id=late.id).arguments == '[["ann", "********"], {}, {"masked": true}]'
    assert runs.get(task_id=plain.id).arguments == '[["clear"], {"x": {"task": "clean", "args": [1]}}]'


@pytest.mark.parametrize("known", [True, False])
def test_arguments_that_are_too_large_to_be_looked_through_are_masked_as_a_whole(alias: str, known: bool) -> None:
    with _not_known(not known):
        sent = login.apply_async(("ann" * 500_000, SECRET))
        inside = carry.apply_async((["ann" * 500_000], login.si("ann", SECRET)))
    worker = WorkerHere(alias)
    ends = [end for _ in range(2) for end in worker.run(keep(worker.take(), worker.token, 1 << 24, alias))]
    assert [end.arguments for end in ends] == [ALL_MASKED] * 2
    settle(worker.token, ends, alias)
    runs = TaskRun.objects.using(alias).filter(task_id__in=[sent.id, inside.id])
    assert list(runs.values_list("arguments", flat=True)) == [ALL_MASKED] * 2
    for run in runs:
        with pytest.raises(CannotRetry, match="sensitive"):
            stored_arguments(run)


@pytest.mark.parametrize("signing", [False, True])
@pytest.mark.parametrize("known", [True, False])
def test_large_arguments_of_tasks_that_run_are_shown_but_for_those_that_are_sensitive(
    alias: str, settings: Any, known: bool, signing: bool
) -> None:
    settings.TASKQ_SIGNING = signing
    large = "d" * 300_000
    with _not_known(not known):
        sent = login.apply_async((large, SECRET))
        inside = carry.apply_async((large, login.si("ann", SECRET)))
        again = tried_again.apply_async(({}, large))
    worker = WorkerHere(alias)
    while promote(100, alias) or Message.objects.using(alias).exists():
        settle(worker.token, worker.run(keep(worker.take(), worker.token, 1 << 24, alias)), alias)
    assert not _leaks(alias)
    runs = {run.task_id: run for run in TaskRun.objects.using(alias).all()}
    found = {task_id: stored(run) for task_id, run in runs.items()}
    assert found[sent.id] == [large, "********"]
    assert found[inside.id][0] == large
    assert found[inside.id][1]["args"] == ["ann", "********"]
    assert found[again.id] == [{}, "********"]


def stored(run: TaskRun) -> list[Any]:
    """Return the masked arguments in a row, whose seal is right if it has to have one."""
    assert run.arguments is not None
    arguments.verify(run.arguments, run.task_id, run.name)
    found = arguments.from_text(run.arguments)
    assert found.masked
    return found.args


def test_arguments_of_a_message_that_is_refused_are_masked(alias: str) -> None:
    with _not_known(True):
        carry.apply_async((1, login.si("ann", SECRET)))
        carry.apply_async(("d" * 300_000, login.si("ann", SECRET)))
    Message.objects.using(alias).update(body="no JSON")
    _work(alias)
    assert set(TaskRun.objects.using(alias).values_list("state", flat=True)) == {"FAILURE"}
    assert not _leaks(alias)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_rejected_message_is_logged_without_its_arguments(alias: str, lines: Callable[[], str]) -> None:
    with _not_known(True):
        send_task(login.name, ("ann", SECRET))
    message = Message.objects.using(alias).get()
    message.headers = message.headers.replace('"retries": 0', '"retries": "x"')
    message.save(using=alias)
    _work(alias)
    text = lines()
    assert "was rejected" in text
    assert SECRET not in text
    assert not _leaks(alias)


@pytest.mark.django_db
def test_pages_of_tasks_show_no_secret(admin_client: Client, settings: Any) -> None:
    settings.TASKQ_DATABASE, settings.TASKQ_BROKER_URL = "default", "django://"
    for name in ("by position", "map", "surplus", "misspelt", "fails"):
        _with(CALLS[name](), "link_error", explain.s(SECRET)).apply_async()
    (chain(refused.si("ann", SECRET), login.si("ann", SECRET)) | group(carry.si(), unlock.si(SECRET))).apply_async()
    for _ in range(3):
        for page in _pages():
            for address in (page, f"{page}?format=json"):
                answer = admin_client.get(address, follow=True)
                assert answer.status_code == 200, address
                assert SECRET not in answer.content.decode()
        _work("default")
    assert Error.objects.exists()
    assert TaskRun.objects.filter(arguments__contains="********").exists()


def _pages() -> list[str]:
    """Return the lists of the admin, and the page of each row in them."""
    named = {"taskrun": TaskRun, "error": Error, "node": Node, "queue": None, "worker": None}
    pages = [reverse(f"admin:taskq_{name}_changelist") for name in named]
    pages.append(reverse("admin:app_list", args=["taskq"]))
    for name, model in named.items():
        rows = [] if model is None else model._base_manager.all()
        pages += [reverse(f"admin:taskq_{name}_change", args=[row.pk]) for row in rows]
    return pages


# -- at the call


@pytest.mark.parametrize("option", ["argsrepr", "kwargsrepr"])
def test_callers_text_about_masked_arguments_is_refused(option: str) -> None:
    text: Any = {option: SECRET}
    with override():
        with pytest.raises(ValueError, match=f"{option} can't be given for .*login"):
            login.apply_async(("ann", SECRET), **text)
        with pytest.raises(ValueError, match=option):
            login.starmap([("ann", SECRET)]).apply_async(**text)
        assert carry.apply_async((1,), **text)


@pytest.mark.parametrize("wrong", [[[SECRET]], {"args": [SECRET]}, [{"args": [SECRET]}]])
def test_errors_of_calls_do_not_show_arguments(wrong: Any) -> None:
    for call in (
        lambda: login.apply_async(SECRET),
        lambda: login.apply_async(("ann",), SECRET),  # type: ignore[arg-type]
        lambda: Signature("x", args=SECRET),
        lambda: login.apply_async(("ann", SECRET, object())),
        lambda: carry.apply_async((), link=wrong),
        lambda: chain(carry.si(), wrong),
    ):
        with pytest.raises((TypeError, ValueError, EncodeError)) as caught:
            call()
        assert SECRET not in str(caught.value)
