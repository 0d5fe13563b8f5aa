"""A browser, and a site with a worker and a shop's tasks for it: one of each for all tests of this folder.

Tests are skipped where there is no Chromium. ``TASKQ_TEST_SHOTS=<folder>`` keeps pictures of the pages.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import override_settings
from pytest_django import DjangoDbBlocker

from testproject.traffic import Traffic
from tests.support.databases import Database, temporary_database
from tests.support.ports import free_port
from tests.support.processes import Process, Processes
from tests.support.services import module_or_skip
from tests.support.waiting import wait_until

from .visitor import Visitor

SETTINGS = "tests.browser.settings"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker("browser")


@pytest.fixture(scope="package")
def chromium() -> Iterator[Any]:
    """Return Playwright's browser. Its event loop runs in this thread as long as the package's tests do."""
    playwright = module_or_skip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium here")
    with pytest.MonkeyPatch.context() as patch, playwright.sync_playwright() as driver:
        # Django refuses its ORM to threads with a running event loop. Nothing else runs in this one.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def shop(
    chromium: Any, django_db_setup: None, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Database]:
    """A database on SQLite with tasks of all kinds; this process may read and send."""
    with (
        django_db_blocker.unblock(),
        temporary_database("sqlite", tmp_path_factory.mktemp("shop"), "shop") as database,
        override_settings(TASKQ_DATABASE=database.alias, TASKQ_BROKER_URL=f"django://{database.alias}"),
    ):
        user = User(username="demo", is_staff=True, is_superuser=True)
        user.set_password("demo")
        user.save(using=database.alias)
        Traffic().begin()
        yield database


@pytest.fixture(scope="package")
def shop_worker(shop: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """The worker of the site."""
    processes = Processes(tmp_path_factory.mktemp("worker"), environment_of(shop))
    worker = processes.start_worker("-c", "2", "--settings", SETTINGS, ready=False)
    try:
        worker.wait_for_log(r" ready\.$")
        yield worker
    finally:
        # It would wait for its long task.
        worker.kill()


@pytest.fixture(scope="package")
def site(shop: Database, shop_worker: Process, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the site, whose worker runs."""
    port = free_port()
    processes = Processes(tmp_path_factory.mktemp("site"), environment_of(shop))
    processes.start("runserver", "--noreload", "--settings", SETTINGS, f"127.0.0.1:{port}")
    try:
        wait_until(lambda: _listens(port), what="the site listens")
        yield f"http://127.0.0.1:{port}"
    finally:
        processes.end()


@pytest.fixture
def commands(shop: Database, tmp_path: Path) -> Iterator[Processes]:
    """Processes of the same project, which end with the test."""
    processes = Processes(tmp_path, environment_of(shop))
    yield processes
    processes.end()


def environment_of(shop: Database) -> dict[str, str]:
    """Return the environment of processes that share the shop's database and secret."""
    return {"DATABASE_URL": shop.url, "TASKQ_BROKER_URL": "django://", "SECRET_KEY": "k" * 50}


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="package")
def session(chromium: Any, site: str) -> Any:
    """The cookies of a superuser who has logged in by the form."""
    context = chromium.new_context(base_url=site)
    page = context.new_page()
    page.goto("/admin/login/?next=/admin/taskq/")
    page.fill("#id_username", "demo")
    page.fill("#id_password", "demo")
    page.press("#id_password", "Enter")
    page.wait_for_url("**/admin/taskq/")
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture
def visitor(chromium: Any, site: str, session: Any, request: pytest.FixtureRequest) -> Iterator[Visitor]:
    """Somebody with a browser, who is logged in; at the end, the browser must not have complained."""
    context = chromium.new_context(base_url=site, storage_state=session, viewport={"width": 1280, "height": 900})
    context.set_default_timeout(60_000)
    visitor = Visitor(context, Path(os.environ["TASKQ_TEST_SHOTS"]) if "TASKQ_TEST_SHOTS" in os.environ else None)
    yield visitor
    context.close()
    assert visitor.complaints == []
