"""Checks of queues and routes, in settings and in tasks."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest

from taskq.checks import tasks
from tests.unit.checks.asking import found, messages

WRONG_ROUTES = {"shop.mail": "mail", "other.*": "mail"}


def test_E005_unknown_serializer_or_compression_of_a_task(no_tasks: dict[str, Any]) -> None:
    no_tasks["shop.mail"] = SimpleNamespace(serializer="nope", compression="zip9")
    no_tasks["shop.other"] = SimpleNamespace(serializer="yaml", compression="gzip")
    serializer, compression = messages(tasks.check_task_content)
    assert serializer.id == compression.id == "taskq.E005"
    assert serializer.msg == "The task 'shop.mail': kombu has no serializer 'nope'."
    assert compression.msg == "The task 'shop.mail': kombu has no compression 'zip9'."
    # What the settings name is found there.
    assert found(tasks.check_task_content, {"SERIALIZER": "nope", "COMPRESSION": "zip9"}) == []


CLOSED = {"CREATE_MISSING_QUEUES": False, "QUEUES": ["taskq", "mail"]}


@pytest.mark.parametrize(
    "routes",
    [
        {"shop.*": {"queue": "mial"}},
        {"shop.*": "mial"},
        [("shop.*", {"queue": "mial"})],
        [{"shop.a": {"queue": "mail"}}, {"shop.b": {"queue": "mial"}}],
        [[("shop.*", "mial")], lambda name, *args, **kwargs: None],
    ],
)
def test_E007_route_to_an_undeclared_queue(routes: Any, no_tasks: dict[str, Any]) -> None:
    assert found(tasks.check_routes, CLOSED | {"ROUTES": routes}) == ["E007"]
    assert found(tasks.check_routes, CLOSED | {"ROUTES": routes, "CREATE_MISSING_QUEUES": True}) == []


def test_E007_task_with_an_undeclared_queue(no_tasks: dict[str, Any]) -> None:
    no_tasks["shop.mail"] = SimpleNamespace(queue="mial")
    no_tasks["shop.other"] = SimpleNamespace(queue=None)
    (message,) = messages(tasks.check_routes, **CLOSED)
    assert "The task 'shop.mail' names the queue 'mial'" in message.msg
    assert found(tasks.check_routes, CLOSED | {"QUEUES": ["mial"]}) == []


@pytest.mark.parametrize("routes", [None, {}, {"shop.*": {"queue": "mail"}}, {"shop.*": {"priority": 5}}, (len, len)])
def test_E007_E016_quiet(routes: Any, no_tasks: dict[str, Any]) -> None:
    assert found(tasks.check_routes, CLOSED | {"ROUTES": routes}) == []


@pytest.mark.parametrize(
    "routes",
    [
        {"shop.mial": "mail"},
        {"shop.mial": None},
        [("shop.mail", "mail"), ("shpo.*", "mail")],
        (len, {re.compile("shop[.]x"): "mail"}),
        ["tests.unit.checks.test_routes.WRONG_ROUTES"],
    ],
    ids=str,
)
def test_W009_route_that_matches_no_task(routes: Any, no_tasks: dict[str, Any]) -> None:
    no_tasks["shop.mail"] = SimpleNamespace(queue=None)
    (message,) = messages(tasks.check_route_names, ROUTES=routes)
    assert message.id == "taskq.W009"
    assert "matches no task" in message.msg


def test_W009_names_the_task_with_the_nearest_name(no_tasks: dict[str, Any]) -> None:
    no_tasks["shop.mail"] = SimpleNamespace(queue=None)
    (message,) = messages(tasks.check_route_names, ROUTES={"shop.mial": "mail"})
    assert message.msg == "TASKQ_ROUTES['shop.mial'] matches no task."
    assert "'shop.mail'" in str(message.hint)


@pytest.mark.parametrize(
    "routes", [None, len, {"shop.mail": "x"}, {"shop.*": "x"}, {"*": "x"}, [(re.compile("sh"), "x")], {"a": 5}]
)
def test_W009_quiet(routes: Any, no_tasks: dict[str, Any]) -> None:
    no_tasks["shop.mail"] = SimpleNamespace(queue=None)
    assert found(tasks.check_route_names, {"ROUTES": routes}) == []


@pytest.mark.parametrize(
    "setting",
    [
        {"QUEUES": [5]},
        {"QUEUES": {"a": {"exchnge": "z", "max_prioriti": 3}}},
        {"QUEUES": {"a": {"exchange": 5}}},
        {"ROUTES": {"a": 5}},
        {"ROUTES": ["no.such.router"]},
        {"ROUTES": [5]},
        {"ROUTES": {"a": {"queue": "a", "bogus": 1}}},
        {"ROUTES": {"a": {"queue": 5}}},
    ],
    ids=str,
)
def test_E016_unreadable_queues_or_routes(setting: dict[str, Any], no_tasks: dict[str, Any]) -> None:
    assert found(tasks.check_routes, setting) == ["E016"]
    assert found(tasks.check_routes, setting | {"CREATE_MISSING_QUEUES": False}) == ["E016"]


def test_E016_names_the_unknown_option_or_key(no_tasks: dict[str, Any]) -> None:
    (message,) = messages(tasks.check_routes, QUEUES={"a": {"exchnge": "z"}})
    assert "the queue 'a' has unknown options: exchnge" in message.msg
    (message,) = messages(tasks.check_routes, ROUTES={"a": {"qeue": "z"}})
    assert message.msg.startswith("TASKQ_ROUTES: the route {'qeue': 'z'} has unknown keys: 'qeue'.")


@pytest.mark.parametrize(
    "setting",
    [{"DEFAULT_EXCHANGE_TYPE": "headers"}, {"QUEUES": {"a": {"exchange": "x", "exchange_type": "headers"}}}],
    ids=str,
)
def test_E016_exchange_type_that_the_database_does_not_have(setting: dict[str, Any], no_tasks: dict[str, Any]) -> None:
    (message,) = messages(tasks.check_routes, **setting)
    assert message.id == "taskq.E016"
    assert "'headers'" in message.msg
    assert found(tasks.check_routes, setting | {"BROKER_URL": "amqp://localhost//"}) == []
