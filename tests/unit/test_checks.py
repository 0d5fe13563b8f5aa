from __future__ import annotations

import importlib
import re
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from django.core.checks import CheckMessage, Error, Warning
from django.core.checks.registry import registry as django_checks
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from kombu.transport import TRANSPORT_ALIASES

from taskq import checks, documentation, send_task, task
from taskq.checks import broker, databases, tasks, values
from taskq.checks.ids import PROBLEMS
from taskq.engines import configuration
from taskq.store import readers
from tests.unit.tasks.fixtures import registry

__all__ = ["registry"]

ROOT = Path(checks.__file__).resolve().parent.parent.parent

SQLITE_OPTIONS = {"init_command": "PRAGMA journal_mode=WAL", "transaction_mode": "IMMEDIATE", "timeout": 20}


def found(check: Callable[..., list[CheckMessage]], settings: dict[str, Any] | None = None, **kwargs: Any) -> list[str]:
    """Return the numbers of what a check finds under some settings."""
    with override_settings(**{f"TASKQ_{name}": value for name, value in (settings or {}).items()}):
        return [str(message.id).removeprefix("taskq.") for message in check(**kwargs)]


def messages(check: Callable[..., list[CheckMessage]], **settings: Any) -> list[CheckMessage]:
    with override_settings(**{f"TASKQ_{name}": value for name, value in settings.items()}):
        return check()


WRONG_ROUTES = {"shop.mail": "mail", "other.*": "mail"}


class Connections(dict[str, Any]):
    """Stands for ``django.db.connections``: aliases and what the checks ask of them."""

    @property
    def settings(self) -> set[str]:
        return set(self)


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> Connections:
    made = Connections()
    monkeypatch.setattr(databases, "connections", made)
    return made


def sqlite_alias(name: object = ":memory:", **options: Any) -> SimpleNamespace:
    return SimpleNamespace(vendor="sqlite", settings_dict={"NAME": name, "OPTIONS": options})


# -- names and kinds


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


# -- the broker and its messages


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


# -- tasks and routes


def test_E005_unknown_serializer_or_compression_of_a_task(no_tasks: dict[str, Any]) -> None:
    no_tasks["shop.mail"] = SimpleNamespace(serializer="nope", compression="zip9")
    no_tasks["shop.other"] = SimpleNamespace(serializer="yaml", compression="gzip")
    serializer, compression = messages(tasks.check_task_content)
    assert serializer.id == compression.id == "taskq.E005"
    assert serializer.msg == "The task 'shop.mail': kombu has no serializer 'nope'."
    assert compression.msg == "The task 'shop.mail': kombu has no compression 'zip9'."
    # What the settings name is found there.
    assert found(tasks.check_task_content, {"SERIALIZER": "nope", "COMPRESSION": "zip9"}) == []


def test_E008_two_tasks_with_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from taskq.calls import registry

    monkeypatch.setattr(registry, "duplicates", lambda: {"mail": ["shop.tasks.mail", "blog.tasks.mail"]})
    (message,) = tasks.check_task_names()
    assert message.id == "taskq.E008"
    assert "'mail'" in message.msg
    assert "shop.tasks.mail, blog.tasks.mail" in message.msg
    monkeypatch.setattr(registry, "duplicates", dict)
    assert tasks.check_task_names() == []


FACTORY = """
from taskq import task

def make(n):
    @task
    def each(x):
        return x * n
    return each

double, triple = make(2), make(3)
"""
COPIED = """
from taskq import task

@task
def each(x): return x * 2

@task
def each(x): return x * 3
"""
NAMED = """
from taskq import Task, register, task

@task(name="copies.each")
def double(x): return x * 2

@register
class Triple(Task):
    name = "copies.each"
    def run(self, x): return x * 3
"""
SINGLE = """
from taskq import Task, register, task

@task
def each(x): return x * 2

@register
class Other(Task):
    def run(self, x): return x * 3

other = register(type(Other))
"""


@pytest.fixture
def copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """Import a text as the module ``copies``, whose tasks are forgotten after the test."""
    from taskq.calls import registry

    monkeypatch.syspath_prepend(tmp_path)
    before = set(registry.tasks)

    def imported(source: str) -> ModuleType:
        (tmp_path / "copies.py").write_text(source)
        return importlib.import_module("copies")

    yield imported
    sys.modules.pop("copies", None)
    for name in set(registry.tasks) - before:
        registry.tasks.remove(name)


def about_copies() -> list[str]:
    return [message.msg for message in tasks.check_task_names() if "copies." in message.msg]


@pytest.mark.parametrize("source", [FACTORY, COPIED, NAMED], ids=["factory", "copied", "named"])
def test_E008_two_tasks_of_one_module(copies: Callable[[str], ModuleType], source: str) -> None:
    module = copies(source)
    (said,) = about_copies()
    assert "is given twice or more" in said
    importlib.reload(module)  # neither hides it nor makes more of it
    assert about_copies() == [said]


def test_E008_quiet_for_a_module_that_is_executed_again(copies: Callable[[str], ModuleType]) -> None:
    from taskq.calls import registry

    module = importlib.reload(copies(SINGLE))
    assert about_copies() == []
    sys.modules.pop("copies")
    again = importlib.import_module("copies")
    assert about_copies() == []
    assert registry.tasks["copies.each"] is again.each is not module.each


@pytest.fixture
def no_tasks(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    from taskq.calls import registry

    made: dict[str, Any] = {}
    monkeypatch.setattr(registry, "tasks", made)
    return made


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
        ["tests.unit.test_checks.WRONG_ROUTES"],
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


# -- databases


def test_E010_unknown_alias(connections: Connections) -> None:
    connections["default"] = sqlite_alias()
    assert found(databases.check_aliases, {"DATABASE": "queue"}) == ["E010", "E010"]  # the broker's follows
    assert found(databases.check_aliases, {"BROKER_URL": "django://queue"}) == ["E010", "W005"]
    assert found(databases.check_aliases) == []


def test_W005_broker_and_rows_in_two_databases(connections: Connections) -> None:
    connections.update(default=sqlite_alias(), queue=sqlite_alias())
    assert found(databases.check_aliases, {"BROKER_URL": "django://queue"}) == ["W005"]
    assert found(databases.check_aliases, {"BROKER_URL": "django://queue", "DATABASE": "queue"}) == []
    assert found(databases.check_aliases, {"BROKER_URL": "redis://localhost"}) == []


@override_settings(TASKQ_BROKER_URL="django://queue")
def test_W005_sending_to_a_broker_in_another_database_is_refused() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"TASKQ_BROKER_URL .*'queue'.*TASKQ_DATABASE is 'default'"):
        send_task("any")


def test_E011_unsupported_database(connections: Connections) -> None:
    connections["default"] = SimpleNamespace(vendor="oracle", settings_dict={})
    assert found(databases.check_engines) == ["E011"]


def test_E012_old_sqlite(connections: Connections, monkeypatch: pytest.MonkeyPatch) -> None:
    connections["default"] = sqlite_alias(**SQLITE_OPTIONS)
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    assert found(databases.check_engines) == ["E012"]
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 35, 0))
    assert found(databases.check_engines) == []


@pytest.mark.parametrize("is_psycopg3", [True, False])
def test_E013_psycopg2(is_psycopg3: bool, connections: Connections, monkeypatch: pytest.MonkeyPatch) -> None:
    psycopg_any = pytest.importorskip("django.db.backends.postgresql.psycopg_any")
    connections["default"] = SimpleNamespace(vendor="postgresql", settings_dict={})
    monkeypatch.setattr(psycopg_any, "is_psycopg3", is_psycopg3)
    assert found(databases.check_engines) == ([] if is_psycopg3 else ["E013"])


@pytest.mark.parametrize(
    ("is_mariadb", "version", "expected"),
    [(True, (10, 5, 9), ["E014"]), (True, (10, 6, 0), []), (True, (11, 4, 2), []), (False, (8, 0, 36), ["E014"])],
)
def test_E014_old_mariadb(
    is_mariadb: bool,
    version: tuple[int, ...],
    expected: list[str],
    connections: Connections,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connections["default"] = SimpleNamespace(vendor="mysql", mysql_is_mariadb=is_mariadb, mysql_version=version)
    monkeypatch.setattr(databases, "for_alias", lambda alias: SimpleNamespace(tables_without_transactions=list))
    assert found(databases.check_servers, databases=["default"]) == expected


def test_E018_tables_without_transactions(connections: Connections, monkeypatch: pytest.MonkeyPatch) -> None:
    connections["default"] = SimpleNamespace(vendor="mysql", mysql_is_mariadb=True, mysql_version=(11, 4, 2))
    engine = SimpleNamespace(tables_without_transactions=lambda: ["taskq_lease"])
    monkeypatch.setattr(databases, "for_alias", lambda alias: engine)
    assert found(databases.check_servers, databases=["default"]) == ["E018"]


def test_E014_asks_only_databases_that_it_was_given(connections: Connections) -> None:
    connections["default"] = SimpleNamespace(vendor="mysql", settings_dict={})  # asking it for more would fail
    assert found(databases.check_servers, databases=["other"]) == []
    assert found(databases.check_servers, databases=None) == []
    assert found(databases.check_engines) == []


@pytest.mark.parametrize(
    ("vendor", "configured", "words"),
    [
        ("postgresql", {"AUTOCOMMIT": False}, "AUTOCOMMIT"),
        ("sqlite", {"OPTIONS": {"autocommit": False}}, "autocommit in OPTIONS"),
        ("sqlite", {"OPTIONS": {"autocommit": True}}, ""),
        ("sqlite", {"OPTIONS": {"autocommit": -1}}, ""),
        ("sqlite", {"OPTIONS": {"init_command": "PRAGMA journal_mode=WAL; pragma query_only = ON"}}, "query_only"),
        ("sqlite", {"OPTIONS": {"init_command": "PRAGMA query_only=0; PRAGMA locking_mode=NORMAL"}}, ""),
        ("sqlite", {"OPTIONS": {"init_command": "PRAGMA locking_mode=EXCLUSIVE"}}, "locking_mode"),
        ("sqlite", {"NAME": "file:/tmp/a.db?mode=ro"}, "reading only"),
        ("sqlite", {"NAME": "file:/tmp/a.db?immutable=1"}, "reading only"),
        ("sqlite", {"NAME": "file:/tmp/a.db?mode=rw"}, ""),
        ("postgresql", {"OPTIONS": {"options": "-c default_transaction_read_only=on"}}, "read_only"),
        ("postgresql", {"OPTIONS": {"options": "-c default_transaction_read_only=off"}}, ""),
        ("postgresql", {"OPTIONS": {"options": "-c statement_timeout=5000", "pool": True}}, ""),
        ("postgresql", {"OPTIONS": {"target_session_attrs": "standby"}}, "target_session_attrs"),
        ("postgresql", {"OPTIONS": {"target_session_attrs": "read-write"}}, ""),
        ("mysql", {"OPTIONS": {"init_command": "SET SESSION TRANSACTION READ ONLY"}}, "read-only"),
        ("mysql", {"OPTIONS": {"init_command": "SET sql_mode='STRICT_TRANS_TABLES'"}}, ""),
        ("mysql", {"OPTIONS": {"isolation_level": "read uncommitted"}}, "never committed"),
        ("mysql", {"OPTIONS": {"isolation_level": "serializable"}}, ""),
    ],
    ids=str,
)
def test_E017_database_that_commits_or_writes_nothing(vendor: str, configured: dict[str, Any], words: str) -> None:
    connection: Any = SimpleNamespace(vendor=vendor, settings_dict=configured)
    assert [words in text for text in configuration.problems(connection)] == ([True] if words else [])


def test_E017_is_reported_for_the_database_of_taskq(connections: Connections) -> None:
    connections["default"] = sqlite_alias(**SQLITE_OPTIONS | {"autocommit": False})
    assert found(databases.check_engines) == ["E017"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "some database.sqlite3"


def make_file(path: Path, journal_mode: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA journal_mode={journal_mode}")
    connection.execute("CREATE TABLE a (b)")
    connection.close()


def test_W002_journal_mode_of_the_init_command(file: Path, connections: Connections) -> None:
    connections["default"] = sqlite_alias(file, **SQLITE_OPTIONS)
    assert found(databases.check_engines) == []
    make_file(file, "wal")
    connections["default"] = sqlite_alias(file, **SQLITE_OPTIONS | {"init_command": "PRAGMA journal_mode = delete;"})
    assert found(databases.check_engines) == ["W002"]


@pytest.mark.parametrize(("mode", "expected"), [("wal", []), ("delete", ["W002"])])
@pytest.mark.parametrize(
    "as_name", [Path, str, lambda path: f"{path.as_uri()}?cache=private"], ids=["path", "str", "uri"]
)
def test_W002_journal_mode_of_the_file(
    mode: str, expected: list[str], as_name: Callable[[Path], object], file: Path, connections: Connections
) -> None:
    make_file(file, mode)
    connections["default"] = sqlite_alias(as_name(file), transaction_mode="IMMEDIATE", timeout=30)
    assert found(databases.check_engines) == expected


def test_W002_sqlite_file_that_does_not_exist_yet(file: Path, connections: Connections) -> None:
    connections["default"] = sqlite_alias(file, transaction_mode="IMMEDIATE", timeout=30)
    assert found(databases.check_engines) == ["W002"]


@pytest.mark.parametrize("name", [":memory:", "file:memorydb_default?mode=memory&cache=shared"])
def test_W002_quiet_for_databases_in_memory(name: str, connections: Connections) -> None:
    connections["default"] = sqlite_alias(name, transaction_mode="IMMEDIATE", timeout=30)
    assert found(databases.check_engines) == []


@pytest.mark.parametrize(
    ("mode", "expected"), [(None, ["W003"]), ("DEFERRED", ["W003"]), ("immediate", []), ("EXCLUSIVE", [])]
)
def test_W003_transaction_mode(mode: str | None, expected: list[str], connections: Connections) -> None:
    connections["default"] = sqlite_alias(timeout=30, transaction_mode=mode)
    assert found(databases.check_engines) == expected


@pytest.mark.parametrize(("options", "expected"), [({}, ["W004"]), ({"timeout": 5}, ["W004"]), ({"timeout": 20}, [])])
def test_W004_timeout(options: dict[str, Any], expected: list[str], connections: Connections) -> None:
    connections["default"] = sqlite_alias(transaction_mode="IMMEDIATE", **options)
    assert found(databases.check_engines) == expected


def test_database_of_the_broker_is_checked_too(connections: Connections) -> None:
    connections.update(default=sqlite_alias(**SQLITE_OPTIONS), queue=SimpleNamespace(vendor="oracle", settings_dict={}))
    assert found(databases.check_engines, {"BROKER_URL": "django://queue"}) == ["E011"]


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


def test_W011_schema_that_is_open_to_every_role(connections: Connections, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = SimpleNamespace(open_schemas=lambda: ["public"])
    monkeypatch.setattr(databases, "for_alias", lambda alias: engine)
    connections["default"] = SimpleNamespace(vendor="postgresql")
    assert found(databases.check_schemas, databases=["default"]) == ["W011"]
    assert found(databases.check_schemas, databases=None) == []
    connections["default"] = SimpleNamespace(vendor="sqlite")
    assert found(databases.check_schemas, databases=["default"]) == []


# -- all together


def test_each_problem_is_an_error_or_warning_by_its_number() -> None:
    for problem in PROBLEMS:
        message = problem("text")
        assert type(message) is (Error if problem.number.startswith("E") else Warning)
        assert (message.hint or "").startswith(problem.hint)
        assert (documentation.page(problem.page) in (message.hint or "")) == bool(problem.page)
    assert len({problem.id for problem in PROBLEMS}) == len(PROBLEMS)


def test_each_problem_has_a_test() -> None:
    here = Path(__file__).read_text()
    assert [problem.number for problem in PROBLEMS if f'"{problem.number}"' not in here.replace("taskq.", "")] == []


def test_the_checks_are_registered() -> None:
    names = {getattr(check, "__name__", "") for check in django_checks.registered_checks}
    deploy = {getattr(check, "__name__", "") for check in django_checks.deployment_checks}
    assert {"check_names", "check_kinds", "check_broker_url", "check_servers", "check_routes"} <= names
    assert {"check_route_names", "check_readers"} <= names
    assert {"check_eager", "check_retention"} <= deploy


def test_app_registers_the_transport_with_kombu() -> None:
    assert TRANSPORT_ALIASES["django"] == "taskq.transport:Transport"


def test_reference_page_of_checks_is_current() -> None:
    page = ROOT / "docs" / "reference" / "checks.md"
    assert page.read_text() == "\n".join(checks.reference()) + "\n", (
        "run: python -m taskq.checks > docs/reference/checks.md"
    )
