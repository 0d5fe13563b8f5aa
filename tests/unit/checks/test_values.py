"""Checks of names, kinds and values of settings, and of the limits of tasks."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.checks import CheckMessage

from taskq import task
from taskq.checks import broker, tasks, values
from tests.unit.checks.asking import found, messages


def test_E001_unknown_name() -> None:
    (message,) = messages(values.check_names, DEFAULT_QUEU="x")
    assert message.id == "taskq.E001"
    assert "TASKQ_DEFAULT_QUEU is not a setting" in message.msg
    assert message.hint == "Did you mean TASKQ_DEFAULT_QUEUE?"


def test_E001_unknown_name_that_is_near_nothing() -> None:
    (message,) = messages(values.check_names, WWWWW=1)
    assert "Correct its name" in str(message.hint)


def test_E001_quiet() -> None:
    assert found(values.check_names, {"DEFAULT_QUEUE": "x"}) == []


def test_E002_wrong_kind() -> None:
    found = messages(values.check_kinds, LEASE="30", SIGNING=1)
    assert [message.id for message in found] == ["taskq.E002"] * 2
    assert any("TASKQ_LEASE must be a number of seconds above 0, not '30'." in message.msg for message in found)


def test_E002_quiet() -> None:
    assert found(values.check_kinds, {"LEASE": 30}) == []


def test_a_wrong_kind_is_reported_once() -> None:
    assert found(broker.check_broker_url, {"BROKER_URL": 5}) == []
    assert found(broker.check_content, {"ACCEPT_CONTENT": "json"}) == []


@pytest.mark.parametrize(
    "settings",
    [
        {"POOL": "custom"},
        {"CUSTOM_POOL": "no.such.module:Pool"},
        {"CUSTOM_POOL": "tests.support.custom_pool:NoPool"},
        {"CUSTOM_POOL": "tests.support.custom_pool:HalfPool"},
    ],
)
def test_E019_no_pool(settings: dict[str, str]) -> None:
    assert found(values.check_custom_pool, settings) == ["E019"]


def test_E019_quiet() -> None:
    assert found(values.check_custom_pool) == []
    assert found(values.check_custom_pool, {"CUSTOM_POOL": "tests.support.custom_pool:RecordingPool"}) == []


def test_E009_unknown_time_zone() -> None:
    assert found(values.check_time_zone, {"TIMEZONE": "Europe/Atlantis"}) == ["E009"]
    assert found(values.check_time_zone, {"TIMEZONE": "Europe/Berlin"}) == []


def test_E015_soft_limit_not_below_hard_limit() -> None:
    assert found(values.check_time_limits, {"TIME_LIMIT": 10, "SOFT_TIME_LIMIT": 10}) == ["E015"]
    assert found(values.check_time_limits, {"TIME_LIMIT": 10, "SOFT_TIME_LIMIT": 9}) == []
    assert found(values.check_time_limits, {"SOFT_TIME_LIMIT": 9}) == []


def test_W008_soft_limit_of_a_task_above_its_hard_limit() -> None:
    task(name="contrary", time_limit=1, soft_time_limit=2)(lambda: None)
    task(name="soft", soft_time_limit=20)(lambda: None)
    task(name="even", time_limit=2, soft_time_limit=2)(lambda: None)
    task(name="unlimited", time_limit=0, soft_time_limit=2)(lambda: None)
    (message,) = about_contrary_limits("contrary", "soft", "even", "unlimited")
    assert message.id == "taskq.W008"
    assert message.msg == (
        "The task 'contrary': soft_time_limit must be less than or equal to time_limit: 2 s is above 1 s."
    )
    # A limit of the setting contradicts no task.
    both = {"TIME_LIMIT": 10, "SOFT_TIME_LIMIT": 15}
    assert len(about_contrary_limits("contrary", "soft", "even", "unlimited", **both)) == 1


def about_contrary_limits(*names: str, **settings: Any) -> list[CheckMessage]:
    found = messages(tasks.check_task_limits, **settings)
    return [message for message in found if any(f"'{name}'" in message.msg for name in names)]


def test_W006_always_eager() -> None:
    assert found(values.check_eager, {"ALWAYS_EAGER": True}) == ["W006"]
    assert found(values.check_eager, {"ALWAYS_EAGER": False}) == []


def test_W007_results_kept_for_ever() -> None:
    assert found(values.check_retention, {"RESULT_EXPIRES": 0, "RESULT_FAILURE_EXPIRES": None}) == ["W007", "W007"]
    assert found(values.check_retention) == []
