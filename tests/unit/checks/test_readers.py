"""W010: queues that no living worker takes from."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from django.test import override_settings

from taskq.checks import databases
from taskq.store import readers
from tests.unit.checks.asking import Connections, found, sqlite_alias


@pytest.fixture
def queues(connections: Connections, no_tasks: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """The queues that workers read, and those in which messages wait."""
    connections["default"] = sqlite_alias()
    made: dict[str, set[str]] = {"read": set(), "waiting": set()}
    monkeypatch.setattr(readers, "read_queues", lambda alias: made["read"])
    monkeypatch.setattr(readers, "waiting_queues", lambda alias: made["waiting"])
    return made


def test_W010_queue_in_which_messages_wait(queues: dict[str, set[str]]) -> None:
    queues["waiting"] |= {"hipry", "taskq"}
    assert found(databases.check_readers, databases=["default"]) == ["W010", "W010"]
    queues["read"] |= {"hipri", "taskq"}
    (message,) = databases.check_readers(databases=["default"])
    assert message.msg == "No living worker takes from the queue 'hipry', in which messages wait."
    assert "Workers take from 'hipri'." in str(message.hint)


def test_W010_queue_that_a_route_or_a_task_names(queues: dict[str, set[str]], no_tasks: dict[str, Any]) -> None:
    no_tasks["shop.mail"] = SimpleNamespace(queue="mail")
    routes = {"ROUTES": {"shop.*": {"queue": "lopri"}}}
    assert found(databases.check_readers, routes, databases=["default"]) == []  # no worker runs
    queues["read"].add("taskq")
    with override_settings(TASKQ_ROUTES=routes["ROUTES"]):
        mail, lopri = sorted(databases.check_readers(databases=["default"]), key=lambda message: message.msg)[::-1]
    assert mail.msg.endswith("the queue 'mail', which the task 'shop.mail' names.")
    assert lopri.msg.endswith("the queue 'lopri', which TASKQ_ROUTES['shop.*'] names.")
    assert found(databases.check_readers, routes | {"QUEUES": ["mail", "lopri"]}, databases=["default"]) == []
    queues["read"] |= {"mail", "lopri"}
    assert found(databases.check_readers, routes, databases=["default"]) == []


def test_W010_quiet_without_the_database_and_where_another_check_reports(queues: dict[str, set[str]]) -> None:
    queues["waiting"].add("taskq")
    for databases_asked in (None, [], ["other"]):
        assert found(databases.check_readers, databases=databases_asked) == []
    for setting in ({"BROKER_URL": "amqp://localhost//"}, {"ROUTES": {"a": 5}}, {"DATABASE": "x"}):
        assert found(databases.check_readers, setting, databases=["default", "x"]) == []
