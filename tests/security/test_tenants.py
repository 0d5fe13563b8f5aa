"""Another role of the same PostgreSQL database: it may connect, listen, and create functions in ``public``."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import psycopg
import pytest
from django.core.checks import run_checks
from django.core.management import call_command
from django.db import connections

from taskq import chord, group
from taskq.engines import for_alias
from taskq.engines.functions import _ARGUMENTS as TYPES
from taskq.engines.functions import SEND
from taskq.models import Message, ScheduledMessage, TaskRun
from tests.support.jobs.endings import square
from tests.support.worker_here import WorkerHere

pytestmark = pytest.mark.parametrize("database", ["postgresql"], indirect=True)

#: Better matches than PostgreSQL's own functions, for calls with arguments of other types than those have.
TRAPS = (
    # The one for a call whose arguments have no types.
    f"{SEND}({', '.join(['text'] * 3)}, int, {', '.join(['text'] * 12)}, int, text)",
    f"{SEND}({', '.join(['varchar'] * 3)}, int, {', '.join(['text'] * 12)}, int, text)",
    "pg_notify(text, varchar)",
    "pg_notify(varchar, varchar)",
    "to_timestamp(numeric)",
    "to_timestamp(text)",
    "unnest(text[])",
    "set_config(text, varchar, bool)",
    "clock_timestamp(int DEFAULT 0)",
)


@pytest.fixture
def role(alias: str) -> Iterator[str]:
    """A role without any rights."""
    name = f"taskq_tenant_{os.getpid()}"
    with connections[alias].cursor() as cursor:
        cursor.execute(f"DROP ROLE IF EXISTS {name}")
        cursor.execute(f"CREATE ROLE {name}")
        yield name
        cursor.execute(f"RESET ROLE; RESET search_path; DROP OWNED BY {name} CASCADE; DROP ROLE {name}")


@pytest.fixture
def execute(alias: str) -> Callable[[str], None]:
    """Run a statement on the connection of the alias."""

    def run(statement: str) -> None:
        with connections[alias].cursor() as cursor:
            cursor.execute(statement)

    return run


@pytest.fixture(autouse=True)
def looked_up_anew(alias: str) -> Iterator[None]:
    """Have the function for sending found, or not, by each test."""
    for_alias(alias).__dict__.pop("_call_send", None)
    yield
    for_alias(alias).__dict__.pop("_call_send", None)


@contextmanager
def acting_as(role: str, execute: Callable[[str], None]) -> Iterator[None]:
    execute(f"SET ROLE {role}")
    yield
    execute("RESET ROLE")


@pytest.fixture
def tenant(role: str, execute: Callable[[str], None]) -> str:
    execute(f"GRANT CREATE ON SCHEMA public TO {role}")
    return role


def lay_traps(*signatures: str) -> str:
    return ";".join(
        f"CREATE FUNCTION public.{signature} RETURNS void LANGUAGE plpgsql AS $$ "
        "BEGIN RAISE EXCEPTION 'the tenant runs code as %', current_user; END $$"
        for signature in signatures
    )


def send_in_every_way(alias: str) -> None:
    """Send, work, and see that each task but the one of later has run."""
    square.delay(2)
    square.apply_async((2,), expires=60)
    square.apply_async((2,), countdown=0.5)
    square.apply_async((2,), task_id="chosen")
    square.apply_async((2,), ignore_result=True)
    square.delay_many([(2,), (3,)])
    chord(group(square.s(2), square.s(3)), square.si(4)).delay()
    for_alias(alias).with_messages(["taskq"])
    WorkerHere(alias).work()
    states = Counter(TaskRun.objects.using(alias).values_list("state", flat=True))
    assert states.keys() <= {"SUCCESS", "PENDING"}
    assert states["SUCCESS"] >= 8


def test_functions_of_a_tenant_are_not_called(alias: str, tenant: str, execute: Callable[[str], None]) -> None:
    with acting_as(tenant, execute):
        execute(lay_traps(*TRAPS))
    send_in_every_way(alias)
    assert for_alias(alias).__dict__["_call_send"]


def test_function_of_a_tenant_in_the_place_of_taskqs_is_not_called(
    alias: str, tenant: str, execute: Callable[[str], None]
) -> None:
    taskqs = f"{SEND}({', '.join(TYPES)})"
    execute(f"ALTER FUNCTION {taskqs} RENAME TO put_away")
    try:
        with acting_as(tenant, execute):
            execute(lay_traps(taskqs))
        send_in_every_way(alias)
        assert not for_alias(alias).__dict__["_call_send"]
    finally:
        execute(f"DROP FUNCTION {taskqs}; ALTER FUNCTION put_away RENAME TO {SEND}")


def test_role_without_execute_sends(alias: str, role: str, execute: Callable[[str], None]) -> None:
    execute(f"REVOKE EXECUTE ON FUNCTION {SEND} FROM PUBLIC")
    execute(
        f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}; GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role}"
    )
    try:
        with acting_as(role, execute):
            send_in_every_way(alias)
    finally:
        execute(f"GRANT EXECUTE ON FUNCTION {SEND} TO PUBLIC")
    assert not for_alias(alias).__dict__["_call_send"]
    # Nothing was written twice, or left out: two of the values are those of the chord's members, one is its body's.
    ended = TaskRun.objects.using(alias).filter(state="SUCCESS").values_list("result", flat=True)
    assert sorted(ended) == ["16", "4", "4", "4", "4", "4", "9", "9"]
    assert TaskRun.objects.using(alias).get(task_id="chosen").state == "SUCCESS"
    assert ScheduledMessage.objects.using(alias).get().queue == "taskq"
    assert not Message.objects.using(alias).exists()


def test_role_that_may_create_no_functions_migrates_and_sends(
    alias: str, role: str, execute: Callable[[str], None]
) -> None:
    square.delay(1)
    execute(f"CREATE SCHEMA own AUTHORIZATION {role}; REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC")
    try:
        with acting_as(role, execute):
            execute("SET search_path = own")
            call_command("migrate", "taskq", database=alias, verbosity=0)
            # The function of the other schema is known by now, and writes to the tables of that.
            assert square.delay(2).id == Message.objects.using(alias).get().task_id
            send_in_every_way(alias)
        execute("RESET search_path")
        assert Message.objects.using(alias).count() == 1
    finally:
        execute("GRANT USAGE ON LANGUAGE plpgsql TO PUBLIC")


def test_notifications_hold_nothing_readable(alias: str) -> None:
    heard: set[str] = set()
    parameters = connections[alias].get_connection_params()
    parameters = {name: parameters[name] for name in ("dbname", "user", "host", "port") if name in parameters}
    with closing(psycopg.connect(**parameters, autocommit=True)) as spy:
        spy.execute("LISTEN taskq_message; LISTEN taskq_result")
        square.apply_async((2,), task_id="salary-of-ann", queue="payroll")
        square.apply_async((2,), task_id="salary-of-ben", queue="payroll", countdown=60)
        square.delay_many([(2,), (3,)])
        WorkerHere(alias).work()
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT pg_notify('taskq_message', 'the end')")
        for notice in spy.notifies():
            if notice.payload == "the end":
                break
            heard.add(notice.payload)
    assert len(heard) >= 4
    assert all(re.fullmatch(r"([0-9a-f]{16},?)*", payload) for payload in heard)
    assert ScheduledMessage.objects.using(alias).exists()


def test_schema_that_is_open_to_every_role_is_warned_of(alias: str, execute: Callable[[str], None]) -> None:
    def warned() -> list[str]:
        return [
            message.msg for message in run_checks(tags=["database"], databases=[alias]) if message.id == "taskq.W011"
        ]

    assert not warned()
    execute("GRANT CREATE ON SCHEMA public TO PUBLIC")
    try:
        assert warned() == [f"Every role may create functions in the schema 'public' of {alias!r}."]
    finally:
        execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
