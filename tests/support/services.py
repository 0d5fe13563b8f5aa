"""Which servers the tests can reach, and where.

Each has a variable with its URL; without one the usual place on this host is
tried. A test that needs a server that is not there is skipped, or fails when
``TASKQ_REQUIRE_SERVICES=1`` (as in CI).
"""

from __future__ import annotations

import os
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest
from kombu import Connection

#: The variable that names each server, and the URL that is tried without it.
SERVICES = {
    "postgresql": ("TASKQ_TEST_POSTGRES_URL", "postgres://postgres@127.0.0.1:5432/postgres"),
    "mariadb": ("TASKQ_TEST_MYSQL_URL", "mysql://root@127.0.0.1:3306/test"),
    "redis": ("TASKQ_TEST_REDIS_URL", "redis://127.0.0.1:6379/15"),
    "rabbitmq": ("TASKQ_TEST_AMQP_URL", "amqp://guest:guest@127.0.0.1:5672//"),
}
DATABASES = ("postgresql", "mariadb")


def url(name: str) -> str:
    """Return the URL of a server."""
    variable, default = SERVICES[name]
    return os.environ.get(variable) or default


def available(name: str) -> bool:
    """Tell whether a server answers; the answer is kept. ``sqlite`` always does."""
    return name == "sqlite" or _problem(name) is None


def require_or_skip(name: str) -> None:
    """Skip the running test if a server does not answer; fail it where all have to be there."""
    if available(name):
        return
    message = f"{name} does not answer at {SERVICES[name][0]}={url(name)}: {_problem(name)}"
    if os.environ.get("TASKQ_REQUIRE_SERVICES") == "1":
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


def module_or_skip(name: str) -> Any:
    """Import a module that a test needs; without it skip the test, or fail it where everything has to be there."""
    if find_spec(name) is None:
        message = f"{name} is not installed: pip install -e .[dev]"
        if os.environ.get("TASKQ_REQUIRE_SERVICES") == "1":
            pytest.fail(message, pytrace=False)
        pytest.skip(message)
    return import_module(name)


@cache
def _problem(name: str) -> str | None:
    try:
        _connect(name)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def _connect(name: str) -> None:
    if name not in DATABASES:
        with Connection(url(name), connect_timeout=20, transport_options={"socket_connect_timeout": 20}) as broker:
            broker.ensure_connection(max_retries=1, timeout=60)
            broker.default_channel.close()
        return
    from .databases import server_cursor

    with server_cursor(name) as cursor:
        cursor.execute("SELECT 1")
