"""Checks of the broker's URL, and of serializers and compressions of messages."""

from __future__ import annotations

from typing import Any

import pytest

from taskq.checks import broker
from tests.unit.checks.asking import found, messages


@pytest.mark.parametrize("url", ["localhost", "redi://x", "django://user@host:5/x"])
def test_E003_invalid_broker_url(url: str) -> None:
    assert found(broker.check_broker_url, {"BROKER_URL": url}) == ["E003"]
    assert found(broker.check_broker_client, {"BROKER_URL": url}) == []


@pytest.mark.parametrize("url", ["django://", "django://other", "amqp://guest@localhost//", "memory://"])
def test_E003_E004_quiet(url: str) -> None:
    assert found(broker.check_broker_url, {"BROKER_URL": url}) == []
    assert found(broker.check_broker_client, {"BROKER_URL": url}) == []


def test_E003_E004_for_the_broker_of_remote_control() -> None:
    assert found(broker.check_broker_url, {"CONTROL_URL": "nowhere"}) == ["E003"]
    assert found(broker.check_broker_client, {"CONTROL_URL": "no.such.module:Transport://"}) == ["E004"]
    assert found(broker.check_broker_client, {"CONTROL_URL": "memory://"}) == []


@pytest.mark.parametrize(
    ("url", "module", "install"),
    [
        ("redis://:secret@localhost/0", "redis", "taskq-django[redis]"),
        ("sqs://", "SQS", "taskq-django[sqs]"),
        ("pgmq://localhost", "pgmq", "kombu[pgmq]"),
    ],
)
def test_E004_missing_client_library(url: str, module: str, install: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> type:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr("kombu.transport.resolve_transport", missing)
    monkeypatch.setattr("kombu.connection.get_transport_cls", missing)
    (message,) = messages(broker.check_broker_client, BROKER_URL=url)
    assert message.id == "taskq.E004"
    assert message.hint == f"pip install '{install}'"
    assert "secret" not in message.msg


def test_E004_names_what_replaces_librabbitmq() -> None:
    (message,) = messages(broker.check_broker_client, BROKER_URL="librabbitmq://guest:secret@localhost//")
    assert message.id == "taskq.E004"
    assert "Use amqp://" in str(message.hint)
    assert "CELERY_ENABLE_SPEEDUPS=1 pip install --no-binary amqp,vine amqp vine" in str(message.hint)
    assert "secret" not in message.msg


@pytest.mark.parametrize(
    "setting",
    [{"SERIALIZER": "jsn"}, {"RESULT_SERIALIZER": "jsn"}, {"ACCEPT_CONTENT": ["json", "jsn"]}, {"COMPRESSION": "zap"}],
)
def test_E005_unknown_serializer_or_compression(setting: dict[str, Any]) -> None:
    assert found(broker.check_content, setting) == ["E005"]


def test_E005_names_the_package_to_install() -> None:
    (message,) = messages(broker.check_content, COMPRESSION="brotli")
    assert message.hint == "pip install 'taskq-django[brotli]'"


def test_E006_serializer_that_is_not_accepted() -> None:
    assert found(broker.check_content, {"ACCEPT_CONTENT": ["yaml"]}) == ["E006", "E006"]


@pytest.mark.parametrize(
    "setting",
    [{}, {"ACCEPT_CONTENT": ["application/json"]}, {"ACCEPT_CONTENT": ["json", "text/plain"]}, {"COMPRESSION": "gzip"}],
)
def test_E005_E006_W001_quiet(setting: dict[str, Any]) -> None:
    assert found(broker.check_content, setting) == []


@pytest.mark.parametrize("name", ["pickle", "application/x-python-serialize"])
def test_W001_accepted_pickle(name: str) -> None:
    assert found(broker.check_content, {"ACCEPT_CONTENT": ["json", name]}) == ["W001"]
