from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client, RequestFactory

from taskq.models import Queue, TaskRun, Worker

PAGES = [
    ("view_taskrun", "/admin/taskq/taskrun/"),
    ("view_taskrun", "/admin/taskq/taskrun/{run}/change/"),
    ("view_taskrun", "/admin/taskq/taskrun/id/run-1/"),
    ("view_worker", "/admin/taskq/worker/"),
    ("view_worker", "/admin/taskq/worker/boot-1/change/"),
    ("view_node", "/admin/taskq/node/"),
    ("view_queue", "/admin/taskq/queue/"),
    ("view_queue", "/admin/taskq/queue/mails/change/"),
]


@pytest.fixture
def rows(make_run: Callable[..., TaskRun], make_worker: Callable[..., Worker]) -> TaskRun:
    make_worker()
    return make_run()


@pytest.mark.parametrize(("needed", "page"), PAGES)
def test_page_opens_with_the_view_permission_of_its_model(
    staff_client: Callable[..., Client], rows: TaskRun, needed: str, page: str
) -> None:
    assert staff_client(needed).get(page.format(run=rows.pk), follow=needed != "view_queue").status_code in (200, 302)


@pytest.mark.parametrize(("needed", "page"), PAGES)
def test_other_permissions_get_403(staff_client: Callable[..., Client], rows: TaskRun, needed: str, page: str) -> None:
    model = needed.removeprefix("view_")
    others = {"view_taskrun", "view_worker", "view_queue", f"change_{model}", f"delete_{model}"} - {needed}
    assert staff_client(*others).get(page.format(run=rows.pk)).status_code == 403


@pytest.mark.parametrize("page", [page for _, page in PAGES])
def test_anonymous_visitor_is_sent_to_the_login(client: Client, rows: TaskRun, page: str) -> None:
    response = client.get(page.format(run=rows.pk))
    assert response.status_code == 302
    assert "/admin/login/" in response["Location"]


@pytest.mark.parametrize("page", ["/admin/taskq/taskrun/add/", "/admin/taskq/worker/add/", "/admin/taskq/queue/add/"])
def test_superuser_can_not_add_rows(admin_client: Client, page: str) -> None:
    assert admin_client.get(page).status_code == 403


@pytest.mark.parametrize("page", ["/admin/taskq/taskrun/{run}/", "/admin/taskq/worker/boot-1/"])
def test_superuser_can_not_change_or_delete_rows(admin_client: Client, rows: TaskRun, page: str) -> None:
    address = page.format(run=rows.pk)
    assert admin_client.post(f"{address}change/", {"name": "x"}).status_code == 403
    assert admin_client.post(f"{address}delete/", {"post": "yes"}).status_code == 403
    assert TaskRun.objects.get().name == "shop.tasks.mail"
    assert Worker.objects.exists()


@pytest.mark.parametrize("model", [TaskRun, Worker, Queue])
def test_lists_have_no_actions(
    rf: RequestFactory, admin_user: User, model: type[TaskRun] | type[Worker] | type[Queue]
) -> None:
    request = rf.get("/")
    request.user = admin_user
    assert not admin.site.get_model_admin(model).get_actions(request)


def test_index_lists_the_pages_without_add_links(admin_client: Client) -> None:
    page = admin_client.get("/admin/taskq/").content.decode()
    for model in ("taskrun", "queue", "worker"):
        assert f"/admin/taskq/{model}/" in page
    assert "/add/" not in page
