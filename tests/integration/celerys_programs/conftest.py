"""A broker that a taskq worker shares with Celery's own programs."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
from django.test import override_settings

from tests.support import celery_programs, services
from tests.support.celery_programs import Programs

#: The namespace that gives exactly Celery's names: its programs need no settings then.
CELERYS = "celery"
BROKERS = ["redis", "rabbitmq"]


@dataclass(frozen=True, slots=True)
class Shared:
    """What both sides know: the settings of the worker without their prefix, its name, and the programs of Celery."""

    settings: dict[str, str]
    node: str
    programs: Programs


@pytest.fixture
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shared]:
    """Share a broker, a parameter, under Celery's namespace or, if the other parameter is false, one of the test's own.

    Others may use Celery's at the same time. So nothing is asked of nodes that the test has not named.
    """
    broker, celerys = request.param
    services.require_or_skip(broker)
    celery_programs.require_or_skip()
    own = uuid.uuid4().hex[:12]
    settings = {"CONTROL_URL": services.url(broker), "NAMESPACE": CELERYS if celerys else f"t{own}"}
    programs = Programs(tmp_path, app_of(settings["CONTROL_URL"], settings["NAMESPACE"]))
    try:
        with override_settings(**{f"TASKQ_{name}": value for name, value in settings.items()}):
            yield Shared(settings, f"{own}@host", programs)
    finally:
        programs.end()
        if broker == "redis" and not celerys:
            forget_bindings(settings["CONTROL_URL"], settings["NAMESPACE"])


def forget_bindings(url: str, namespace: str) -> None:
    """Delete what a program that was killed leaves in Redis: its place among the readers of events."""
    with redis.Redis.from_url(url) as client:
        client.delete(f"_kombu.binding.{namespace}ev", f"_kombu.binding.reply.{namespace}.pidbox")


def app_of(url: str, namespace: str) -> str:
    """Return the module of a Celery app that shares the broker, and knows tasks of the worker by their names."""
    names = (
        ""
        if namespace == CELERYS
        else (
            f"app.conf.control_exchange = {namespace!r}\n"
            f"app.conf.event_exchange = {namespace + 'ev'!r}\n"
            f"app.conf.event_queue_prefix = {namespace + 'ev'!r}\n"
        )
    )
    return (
        f"from celery import Celery\n\napp = Celery('capp', broker={url!r})\n{names}"
        "def placeholder():\n    pass\n\nfor name in ('square', 'wait_for_file'):\n"
        "    app.task(name=f'tests.support.jobs.endings.{name}')(placeholder)\n"
    )
