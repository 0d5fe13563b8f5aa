"""Every command of remote control with arguments of any kind: each is answered, and the worker lives."""

from __future__ import annotations

import inspect
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import override_settings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taskq import control
from taskq.control import registry
from taskq.worker.remote.connection import connect
from tests.support import services, workers
from tests.support.jobs import endings
from tests.support.processes import Process, Processes

# The database that takes the fewest texts.
pytestmark = pytest.mark.parametrize("database", ["postgresql"], indirect=True)

#: All but ``shutdown``, which has no reply.
registry.load()
COMMANDS = sorted(
    name
    for name, command in registry.commands.items()
    if command.replies and command.name == name and command.handler.__module__.startswith("taskq.")
)
#: Numbers with which a pool neither grows nor shrinks.
NUMBERS = st.sampled_from([-1, 0, 2.5, -0.0, 1e300, 2**31, 2**63, 10**30])
TEXTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ["", "a" * 300, "\x00", "\ud800", "\x1b[2J", "__class__", "TERM", "5/m", endings.square.name, "a=b"]
    ),
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda values: st.lists(values, max_size=3) | st.dictionaries(TEXTS, values, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def hostile(module_processes: Processes) -> Iterator[tuple[Process, Any]]:
    """A worker with remote control over Redis, and a connection to it."""
    services.require_or_skip("redis")
    chosen = {"CONTROL_URL": services.url("redis"), "NAMESPACE": f"t{uuid.uuid4().hex[:12]}"}
    with override_settings(**{f"TASKQ_{name}": value for name, value in chosen.items()}):
        worker = workers.start_worker(module_processes, "-c", "1", **chosen)
        with connect() as connection:
            yield worker, connection


def arguments_of(name: str) -> st.SearchStrategy[dict[str, Any]]:
    parameters = list(inspect.signature(registry.commands[name].handler).parameters)[1:]
    known = [each for each in parameters if each not in {"_", "options", "more"}]
    options = ["durable", "expires", "message_ttl", "max_length", "queue_arguments"] if name == "add_consumer" else []
    return st.dictionaries(st.sampled_from([*known, *options, "state", "nonsense"]), VALUES, max_size=4)


def ask(connection: Any, name: str, arguments: dict[str, Any]) -> Any:
    (reply,) = control.broadcast(name, arguments, connection=connection, reply=True, timeout=60, limit=1) or [None]
    assert reply is not None, f"no reply to {name}"
    ((_, found),) = reply.items()
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_answered_whatever_its_arguments(name: str, hostile: tuple[Process, Any]) -> None:
    worker, connection = hostile

    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
    @given(arguments_of(name))
    def check(arguments: dict[str, Any]) -> None:
        found = ask(connection, name, arguments)
        if "state" in arguments:
            assert "error" in found
        if isinstance(found, dict) and "error" in found:
            assert isinstance(found["error"], str)
            assert len(found["error"]) < 3_000

    check()
    assert ask(connection, "ping", {}) == {"ok": "pong"}
    assert worker.running


LONG = "x" * 256


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("revoke", {"task_id": LONG}, "task_id has to have 1 to 255 characters"),
        ("revoke", {"task_id": ["a", LONG], "terminate": True}, "not 256"),
        ("revoke", {"task_id": {"a": 1}}, "an id or a list of ids"),
        ("terminate", {"task_id": "a\x00", "signal": "TERM"}, "no NUL"),
        ("revoke_by_name", {"pattern": LONG}, "pattern has to have 1 to 255 characters"),
        ("revoke_by_name", {"pattern": "x" * 900_000}, "not 900000"),
        ("revoke_by_name", {"pattern": ["a"]}, "pattern has to be a text"),
        ("revoke_by_stamped_headers", {"headers": {LONG: 1}}, "255 characters"),
        ("revoke_by_stamped_headers", {"headers": {str(n): 1 for n in range(101)}}, "at most 100 headers"),
        ("add_consumer", {"queue": LONG}, "queue has to have 1 to 255 characters"),
        ("add_consumer", {"queue": "q", "bindings": []}, "'bindings' is no option of a queue: there are auto_delete,"),
        ("add_consumer", {"queue": "q", "on_declared": "os.system"}, "is no option"),
        ("add_consumer", {"queue": "q", "expires": "never"}, "expires has to be a number of seconds"),
        ("add_consumer", {"queue": "q", "expires": True}, "expires has to be"),
        ("add_consumer", {"queue": "q", "exchange": "e", "message_ttl": 1e300}, "message_ttl has to be"),
        ("add_consumer", {"queue": "q", "exchange": "e", "durable": "yes"}, "durable has to be true or false"),
        ("add_consumer", {"queue": "q", "exchange": "e", "max_length": -1}, "max_length has to be"),
        ("add_consumer", {"queue": "q", "queue_arguments": {"x-expires": "1"}}, "queue_arguments has to be"),
        ("add_consumer", {"queue": "q", "queue_arguments": {"x": {"y": 1}}}, "queue_arguments has to be"),
        ("add_consumer", {"queue": "q", "exchange_type": ["topic"]}, "the type of an exchange is"),
        ("add_consumer", {"queue": "q", "exchange": "e", "routing_key": LONG}, "routing_key has to have"),
        ("cancel_consumer", {"queue": {"a": 1}}, "queue has to be a text"),
    ],
)
def test_what_can_not_be_done_is_said(
    name: str, arguments: dict[str, Any], words: str, hostile: tuple[Process, Any]
) -> None:
    assert words in ask(hostile[1], name, arguments)["error"]


def test_options_of_a_queue_are_heeded(hostile: tuple[Process, Any]) -> None:
    _, connection = hostile
    options = {"exclusive": True, "expires": 60, "queue_arguments": {"x-max-priority": 3}}
    assert ask(connection, "add_consumer", {"queue": "optional", **options}) == {"ok": "add consumer optional"}
    (found,) = [each for each in ask(connection, "active_queues", {}) if each["name"] == "optional"]
    assert {name: found[name] for name in options} == options
    assert ask(connection, "cancel_consumer", {"queue": "optional"}) == {"ok": "no longer consuming from optional"}


def test_the_worker_went_through_all_of_this(hostile: tuple[Process, Any]) -> None:
    worker, connection = hostile
    assert "Remote control has no connection" not in worker.log
    assert "A call of remote control failed" not in worker.log
    control.broadcast("shutdown", {"msg": {"a": [1]}}, connection=connection)
    assert worker.wait() == 0
