from __future__ import annotations

import ast
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from taskq import conf
from taskq.conf import SETTINGS, Env, From, Setting, database_broker_alias, masked_url, settings

ROOT = Path(conf.__file__).resolve().parent.parent


@pytest.mark.parametrize("row", SETTINGS, ids=lambda row: row.name)
def test_each_setting_is_complete_and_its_default_is_of_its_kind(row: Setting[Any]) -> None:
    default = row.default.compute(settings) if isinstance(row.default, From) else row.default
    assert row.kind.convert(default) == default
    assert row.meaning.endswith(".")
    assert row.name.isupper()


def test_settings_that_code_reads_are_in_the_table() -> None:
    known = {row.name for row in SETTINGS}
    all_read: set[str] = set()
    for path in (ROOT / "taskq").rglob("*.py"):
        text = path.read_text()
        if "from taskq.conf import" not in text:
            continue
        read = {
            node.attr
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "settings"
        }
        read = {name for name in read if name.isupper()}
        assert read <= known, path
        all_read |= read
    assert len(all_read) > len(known) / 2


def test_unknown_setting_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="QUEUE_DEFAULT"):
        settings.QUEUE_DEFAULT  # type: ignore[attr-defined]  # noqa: B018


def test_assigning_a_setting_is_an_error() -> None:
    with pytest.raises(AttributeError, match="TASKQ_LEASE"):
        settings.LEASE = 5.0


def test_override_settings_is_honoured_and_undone() -> None:
    assert settings.LEASE == 30.0
    with override_settings(TASKQ_LEASE=5):
        assert settings.LEASE == 5.0
        assert isinstance(settings.LEASE, float)
    assert settings.LEASE == 30.0


def test_setting_is_cached_as_an_attribute_after_the_first_read() -> None:
    settings.clear()
    assert "POOL" not in vars(settings)
    assert settings.POOL == "prefork"
    assert vars(settings)["POOL"] == "prefork"


def test_defaults_follow_the_namespace() -> None:
    with override_settings(TASKQ_NAMESPACE="celery"):
        assert settings.DEFAULT_QUEUE == settings.DEFAULT_EXCHANGE == settings.DEFAULT_ROUTING_KEY == "celery"
        with override_settings(TASKQ_DEFAULT_QUEUE="mine"):
            assert settings.DEFAULT_QUEUE == settings.DEFAULT_ROUTING_KEY == "mine"
            assert settings.NAMESPACE == "celery"


def test_the_time_zone_follows_django() -> None:
    with override_settings(TIME_ZONE="Europe/Paris"):
        assert settings.TIMEZONE == "Europe/Paris"
    with override_settings(TIME_ZONE="Europe/Paris", TASKQ_TIMEZONE="Asia/Tokyo"):
        assert settings.TIMEZONE == "Asia/Tokyo"


@pytest.mark.parametrize(
    ("name", "value", "result"),
    [
        ("RESULT_EXPIRES", 3600, timedelta(hours=1)),
        ("RESULT_EXPIRES", timedelta(days=2), timedelta(days=2)),
        ("RESULT_EXPIRES", 0, None),
        ("RESULT_EXPIRES", None, None),
        ("SHUTDOWN_TIMEOUT", timedelta(seconds=5), 5.0),
        ("ACCEPT_CONTENT", ["json", "yaml"], ("json", "yaml")),
        ("TIME_LIMIT", 60, 60.0),
        ("MAX_RETRIES", None, None),
    ],
)
def test_setting_values_are_converted_to_one_form(name: str, value: object, result: object) -> None:
    with override_settings(**{f"TASKQ_{name}": value}):
        assert getattr(settings, name) == result


def test_partial_retry_policy_keeps_the_other_defaults() -> None:
    with override_settings(TASKQ_PUBLISH_RETRY_POLICY={"max_retries": 9}):
        assert settings.PUBLISH_RETRY_POLICY["max_retries"] == 9
        assert settings.PUBLISH_RETRY_POLICY["interval_step"] == 0.2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LEASE", "30"),
        ("LEASE", 0),
        ("LEASE", float("nan")),
        ("LEASE", True),
        ("SIGNING", 1),
        ("NAMESPACE", ""),
        ("ACCEPT_CONTENT", "json"),
        ("CONCURRENCY", 0),
        ("CONCURRENCY", 1.5),
        ("DEFAULT_PRIORITY", 10),
        ("POOL", "gevents"),
        ("RESULT_EXPIRES", timedelta(days=-1)),
        ("RESULT_EXPIRES", float("inf")),
        ("PUBLISH_RETRY_POLICY", {"retries": 3}),
        ("PUBLISH_RETRY_POLICY", [3]),
        ("TIMEZONE", 2),
        ("TIME_LIMIT", 0),
        ("SOFT_TIME_LIMIT", float("inf")),
        ("DEFAULT_RETRY_DELAY", 3e9),
    ],
)
def test_wrong_value_is_an_error_that_names_the_setting(name: str, value: object) -> None:
    with (
        override_settings(**{f"TASKQ_{name}": value}),
        pytest.raises(ImproperlyConfigured, match=f"^TASKQ_{name} must be "),
    ):
        getattr(settings, name)


def test_value_read_while_a_setting_changes_is_not_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that reads while another changes a setting must not put the old value back."""
    row: Setting[Any] = vars(conf.Settings)["POLL_INTERVAL"]
    reading, go_on = threading.Event(), threading.Event()

    class SlowKind:
        words = "slow"

        def convert(self, value: float) -> float:
            reading.set()
            go_on.wait(60)
            return value

    monkeypatch.setattr(row, "kind", SlowKind())
    with override_settings(TASKQ_POLL_INTERVAL=1.0):
        thread = threading.Thread(target=lambda: settings.POLL_INTERVAL)
        thread.start()
        reading.wait(60)
        clearing = threading.Thread(target=settings.clear)
        clearing.start()
        go_on.set()
        thread.join()
        clearing.join()
        assert "POLL_INTERVAL" not in vars(settings)


# -- the broker's URL


@pytest.mark.parametrize(
    ("url", "alias"),
    [
        ("django://", "default"),
        ("django:///", "default"),
        ("django://Queue", "Queue"),
        ("redis://localhost/0", None),
        ("amqp://a//;amqp://b//", None),
    ],
)
def test_database_broker_alias_of_broker_urls(url: str, alias: str | None) -> None:
    with override_settings(TASKQ_BROKER_URL=url):
        assert database_broker_alias() == alias
        assert database_broker_alias() == alias  # from the cache


def test_database_broker_alias_follows_the_settings() -> None:
    with override_settings(TASKQ_BROKER_URL="django://", TASKQ_DATABASE="queue"):
        assert database_broker_alias() == "queue"
    with override_settings(TASKQ_BROKER_URL="django://"):
        assert database_broker_alias() == settings.DATABASE


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("django://", "django://"),
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://:pw@host/0", "redis://:********@host/0"),
        ("amqp://user:pw@host//", "amqp://user:********@host//"),
        ("amqp://user:p@s/s?w@host//", "amqp://user:********@host//"),
        ("amqp://user:p;w@host//", "amqp://user:********@host//"),
        ("amqp://u:pw@a//;amqp://u:pw@b//", "amqp://u:********@a//;amqp://u:********@b//"),
        ("redis://h/0?password=pw&x=1", "redis://h/0?password=********&x=1"),
        ("amqp//user:pw@host//", "********@host//"),
        ("amqp:/user:pw@host", "********@host"),
        ("user:p@\nw@host;redis://u:pw@h", "********@host;redis://u:********@h"),
        ("['amqp://user:pw@a//', 'amqp://user:pw@b//']", "********@b//']"),
        ("localhost", "localhost"),
    ],
)
def test_masked_url_hides_passwords(url: str, shown: str) -> None:
    assert masked_url(url) == shown


@pytest.mark.parametrize(
    "url",
    [
        "django://",
        "django://other-alias",
        "memory://",
        "redis://:pw@localhost:6379/0?ssl_cert_reqs=required",
        "redis+socket:///run/redis.sock",
        "sentinel://h:26379;sentinel://h2:26379",
        "amqp://guest:guest@localhost:5672//",
        "sqla+postgresql://u:p@h/db",
    ],
)
def test_env_reads_a_broker_url_unchanged(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKQ_BROKER_URL", url)
    assert Env().broker_url() == url


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", "no scheme"),
        ("localhost", "no scheme"),
        ("redi://localhost", "unknown scheme 'redi'"),
        ("django://user:secret@host/name", "alias"),
        ("amqp://u:secret/x@host", "can't be read"),
        ("amqp://u:sec;ret@host", "can't be read"),
        ("amqp://a//;nothing", "no scheme"),
        ("amqp//u:secret@host//", "no scheme"),
        ("u:secret@host;amqp://u:secret@host", "no scheme"),
    ],
)
def test_env_refuses_an_invalid_broker_url_and_shows_no_password(
    url: str, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_BROKER", url)
    with pytest.raises(ImproperlyConfigured, match=f"MY_BROKER: .*{problem}") as caught:
        Env().broker_url("MY_BROKER")
    assert "sec" not in str(caught.value)


def test_env_without_the_variable_gives_the_default_or_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TASKQ_BROKER_URL", raising=False)
    assert Env().broker_url(default="django://") == "django://"
    assert Env().broker_url("TASKQ_BROKER_URL", default=None) is None
    with pytest.raises(ImproperlyConfigured, match="TASKQ_BROKER_URL"):
        Env().broker_url()


def test_env_reads_a_broker_url_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TASKQ_BROKER_URL", raising=False)
    monkeypatch.setenv("TASKQ_BROKER_URL_FILE", str(tmp_path / "url"))
    with pytest.raises(ImproperlyConfigured, match=r"TASKQ_BROKER_URL_FILE: .* can't be read"):
        Env().broker_url(default="django://")
    (tmp_path / "url").write_text("amqp://u:secret@h//\n")
    assert Env().broker_url(default="django://") == "amqp://u:secret@h//"
    monkeypatch.setenv("TASKQ_BROKER_URL", "django://")
    assert Env().broker_url() == "django://"


@pytest.mark.parametrize("value", [["amqp://u:secret@h//"], b"amqp://u:secret@h//"], ids=repr)
def test_error_about_a_broker_url_of_the_wrong_type_shows_no_password(value: Any) -> None:
    with override_settings(TASKQ_BROKER_URL=value), pytest.raises(ImproperlyConfigured) as caught:
        _ = settings.BROKER_URL
    assert "secret" not in str(caught.value)


def test_reference_page_of_settings_is_current() -> None:
    page = ROOT / "docs" / "reference" / "settings.md"
    assert page.read_text() == "\n".join(conf.reference()) + "\n", (
        "run: python -m taskq.conf > docs/reference/settings.md"
    )
