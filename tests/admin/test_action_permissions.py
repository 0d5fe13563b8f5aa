"""Each action of the registry: refused to who lacks just its permission, and then nothing is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from io import StringIO
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission, User
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from taskq.models import TaskRun, Worker
from taskq_admin.actions.base import ACTIONS, Action, Report, Who
from taskq_admin.admin.read_only import ReadOnlyAdmin
from taskq_admin.permissions import ADMINS, OPERATORS, VIEWERS, of_groups

EACH = pytest.mark.parametrize("action", list(ACTIONS.values()), ids=lambda action: f"{action.of}-{action.key}")


@pytest.fixture
def acted() -> Iterator[list[str]]:
    """The keys of the actions that were done; none does more than that."""
    before, done = dict(ACTIONS), list[str]()

    def noting(action: Action) -> Action:
        def act(ids: Sequence[str], data: Mapping[str, Any], who: Who) -> Report:
            done.append(action.key)
            return Report(done=len(ids))

        return replace(action, act=act, form=None, type_to_confirm=False)

    ACTIONS.update({key: noting(action) for key, action in before.items()})
    yield done
    ACTIONS.update(before)


@pytest.fixture
def ids(make_run: Callable[..., TaskRun], make_worker: Callable[..., Worker]) -> dict[str, str]:
    make_run("row-1")
    make_worker("row-1")
    return {"id": "row-1", "confirmed": "1"}


def client_with(codenames: set[str]) -> Client:
    user = User.objects.create(username="staff", password="!", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="taskq", codename__in=codenames))
    client = Client()
    client.force_login(user)
    return client


def address(action: Action) -> str:
    return reverse(f"admin:taskq_{action.of}_do", args=[action.key])


def answers(client: Client, action: Action, ids: dict[str, str]) -> set[int]:
    """Ask and act in each way, also on all that match, and as JSON; return the status codes."""
    found = set()
    for data in (ids, {"scope": "all", "filter": "tab=failed", "everything": "1", "confirmed": "1"}):
        for query in ("", "?format=json"):
            found.add(client.post(f"{address(action)}{query}", data).status_code)
            found.add(client.get(address(action), {**data, **({"format": "json"} if query else {})}).status_code)
    return found


@EACH
def test_action_is_refused_to_who_lacks_its_permission(ids: dict[str, str], acted: list[str], action: Action) -> None:
    every = {*Permission.objects.filter(content_type__app_label="taskq").values_list("codename", flat=True)}
    client = client_with(every - {action.permission.partition(".")[2]})
    assert answers(client, action, ids) == {403}
    assert not acted
    assert not LogEntry.objects.exists()


@EACH
def test_action_is_refused_to_who_may_not_see_the_rows(ids: dict[str, str], acted: list[str], action: Action) -> None:
    client = client_with({action.permission.partition(".")[2]})
    assert answers(client, action, ids) == {403}
    assert not acted


@EACH
def test_action_needs_no_more_than_both(ids: dict[str, str], acted: list[str], action: Action) -> None:
    client = client_with({action.permission.partition(".")[2], f"view_{action.of}"})
    assert client.post(address(action), ids).status_code == 302
    assert acted == [action.key] or action.of not in ("taskrun", "worker", "queue")


@EACH
def test_permission_of_an_action_exists(db: None, action: Action) -> None:
    app, _, codename = action.permission.partition(".")
    assert Permission.objects.filter(content_type__app_label=app, codename=codename).exists()


def test_staff_without_permissions_sees_nothing(staff_client: Callable[..., Client], ids: dict[str, str]) -> None:
    client = staff_client()
    assert client.get("/admin/taskq/").status_code == 404
    assert "taskq" not in client.get("/admin/").content.decode()
    pages = [each for each in admin.site._registry.values() if isinstance(each, ReadOnlyAdmin)]
    assert len(pages) >= 3
    for each in pages:
        page = reverse(f"admin:taskq_{each.opts.model_name}_changelist")
        assert client.get(page).status_code == client.get(page, {"format": "json"}).status_code == 403
    for action in ACTIONS.values():
        assert answers(client, action, ids) == {403}
    for name in ("run", "audit"):
        page = f"/admin/taskq/taskrun/{name}/"
        assert client.get(page).status_code == client.post(page, {"task": "x"}).status_code == 403
        assert client.get(page, {"format": "json"}).status_code == 403
    assert not LogEntry.objects.exists()


# -- groups


def test_groups_are_made_once_and_nothing_is_taken_away(db: None) -> None:
    out = StringIO()
    call_command("taskgroups", stdout=out)
    assert f"{VIEWERS}: made" in out.getvalue()
    own = Permission.objects.get(codename="add_group", content_type__app_label="auth")
    Group.objects.get(name=VIEWERS).permissions.add(own)
    out = StringIO()
    call_command("taskgroups", stdout=out)
    assert "made" not in out.getvalue()
    assert out.getvalue().count(": 0 permissions added") == 3
    assert own in Group.objects.get(name=VIEWERS).permissions.all()
    assert Group.objects.count() == 3


def test_each_group_may_more_than_the_one_before(db: None) -> None:
    groups = of_groups()
    assert groups[VIEWERS] < groups[OPERATORS] < groups[ADMINS]
    assert "view_taskrun_payload" not in groups[VIEWERS]
    assert not {"run_taskrun", "delete_taskrun", "purge_queue", "shutdown_worker"} & groups[OPERATORS]
    assert {action.permission.partition(".")[2] for action in ACTIONS.values()} <= groups[ADMINS]
