"""Pages as JSON, under the permissions of the page."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from taskq.models import TaskRun

from .conftest import START

LIST = "/admin/taskq/taskrun/"


def test_list_is_there_as_json_with_its_filters(admin_client: Client, make_run: Callable[..., TaskRun]) -> None:
    make_run("run-1", state="FAILURE")
    make_run("run-2")
    found = admin_client.get(LIST, {"tab": "failed", "format": "json"})
    assert found["Content-Type"] == "application/json"
    data = found.json()
    assert {name: data[name] for name in ("count", "more", "page", "pages")} == {
        "count": 1,
        "more": False,
        "page": 1,
        "pages": 1,
    }
    assert [(row["task_id"], row["state"]) for row in data["rows"]] == [("run-1", "FAILURE")]
    assert data["rows"][0]["created_at"].startswith("2026-01-01T12:00:00")


def test_page_of_a_row_is_there_as_json(admin_client: Client, make_run: Callable[..., TaskRun]) -> None:
    run = make_run("run-1")
    assert admin_client.get(f"{LIST}{run.pk}/change/", {"format": "json"}).json()["task_id"] == "run-1"
    assert admin_client.get(f"{LIST}99/change/", {"format": "json"}).status_code == 404


def test_payloads_are_in_no_list(admin_client: Client, make_run: Callable[..., TaskRun]) -> None:
    make_run("run-1", arguments='[["secret"], {}]')
    assert b"secret" not in admin_client.get(LIST, {"format": "json"}).content


def test_invalid_page_is_an_error(admin_client: Client) -> None:
    TaskRun.objects.bulk_create(TaskRun(task_id=f"run-{number}", created_at=START) for number in range(51))
    assert admin_client.get(LIST, {"p": "2", "format": "json"}).json()["pages"] == 2
    assert admin_client.get(LIST, {"p": "99", "format": "json"}).status_code == 400


@pytest.mark.parametrize("address", [LIST, "/admin/taskq/worker/", "/admin/taskq/queue/", f"{LIST}1/change/"])
def test_json_asks_for_the_permission_of_the_page(staff_client: Callable[..., Client], address: str) -> None:
    assert staff_client().get(address, {"format": "json"}).status_code == 403
