"""``conf`` and ``report``: what nobody is to read is masked, whatever its name looks like and wherever it stands."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import override_settings

from taskq.conf import SETTINGS
from taskq.control import configuration
from taskq.control.configuration import is_secret, shown

MASK = "********"


SECRETS = """
    password PASSWORD ssl_passphrase pass DB_PASS dbpass pwd userPwd auth authorization http-auth connection_string
    connectionString sas_key sasToken dsn SENTRY_DSN api-key apikey AccountKey aws_secret_access_key session_token
    private_key credentials key
"""


@pytest.mark.parametrize("name", SECRETS.split())
def test_names_of_secrets(name: str) -> None:
    assert is_secret(name)
    assert shown({name: "s3cret"}) == {name: MASK}
    assert shown({"a": [{"b": {name: ["s3cret", {"c": "s3cret"}]}}]}) == {"a": [{"b": {name: MASK}}]}
    assert shown([f"host=h {name}=s3cret; port=1"]) == [f"host=h {name}={MASK}; port=1"]


@pytest.mark.parametrize(
    "name",
    ["routing_key", "routing_keys", "DEFAULT_ROUTING_KEY", "ssl_keyfile", "global_keyprefix", "compass", "queue"],
)
def test_names_of_what_is_shown(name: str) -> None:
    assert is_secret(name) is (name == "compass")  # too much is masked, rather than too little
    if name != "compass":
        assert shown({name: "value"}) == {name: "value"}


@pytest.mark.parametrize(
    "text",
    [
        "redis://:s3cret@host/0",
        "amqp://user:s3cret@host//;amqp://user:s3cret@other//",
        "see postgres://user:s3cret@host/db, please",
        "redis://host/0?password=s3cret",
        "https://host/?sig=1&auth_token=s3cret&x=1",
        "host=h dbname=d user=u password='s3cret s3cret'",
        '{"type": "service_account", "private_key": "s3cret s3\\"cret", "x": 1}',
        "{'user': 'u', 'password': 's3cret'}",
        '{"pin": 1, "token" :"s3cret"}',
        "Endpoint=sb://bus/;SharedAccessKeyName=root;SharedAccessKey=s3cret=",
    ],
)
@pytest.mark.parametrize("wrap", [str, lambda t: [t], lambda t: {"a": (t,)}, lambda t: {t: 1}, lambda t: {t}])
def test_secrets_inside_of_values(text: str, wrap: Any) -> None:
    assert "s3cret" not in repr(shown(wrap(text)))


def test_json_without_secrets_stays() -> None:
    text = '{"keys of": [1, "a"], "user": "u", "time": 12.5}'
    assert shown(text) == text


class Strange:
    def __repr__(self) -> str:
        return "<Strange redis://:s3cret@host>"


def test_values_are_what_json_carries() -> None:
    assert "s3cret" not in shown(Strange())
    assert shown(timedelta(minutes=1)) == 60
    assert shown({"password": None, "auth": True, 1: 2.5}) == {"password": None, "auth": True, "1": 2.5}


def test_few_settings_are_secrets() -> None:
    assert {row.name for row in SETTINGS if is_secret(row.name)} <= {"METRICS_TOKEN"}


@override_settings(
    TASKQ_BROKER_TRANSPORT_OPTIONS={"sentinel_kwargs": {"auth": "s3cret"}, "ssl": {"passphrase": "s3cret"}},
    TASKQ_CONTROL_URL="redis://:s3cret@host/0",
)
def test_neither_conf_nor_report_has_a_secret() -> None:
    found = configuration.values(with_defaults=True)
    assert found["TASKQ_BROKER_TRANSPORT_OPTIONS"] == {"sentinel_kwargs": {"auth": MASK}, "ssl": {"passphrase": MASK}}
    assert found["TASKQ_DEFAULT_ROUTING_KEY"] != MASK
    assert "s3cret" not in repr(found)
    assert "TASKQ_CONTROL_URL: 'redis://:********@host/0'" in configuration.report()
    assert "s3cret" not in configuration.report()
