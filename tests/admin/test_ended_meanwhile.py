"""Between the page and the press the world goes on: each action then does nothing wrong, and says what happened."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.messages import get_messages
from django.test import Client

from taskq.models import Message, TaskRun
from taskq_admin.actions.base import ACTIONS

from .conftest import START

DO = "/admin/taskq/taskrun/do/"
ENDED = {"started_at": START, "finished_at": START}
#: What is filled in, in which state a task was when the page was shown, its state at the press, and what is said.
CASES: dict[str, tuple[dict[str, str], str, str, str]] = {
    "retry": ({}, "FAILURE", "PENDING", "has not ended: it waits"),
    "rerun": ({}, "FAILURE", "PENDING", "has not ended: it waits"),
    "change": ({"queue": "slow", "new": "on"}, "FAILURE", "PENDING", "has not ended: it waits"),
    "revoke": ({}, "PENDING", "SUCCESS", "1 had ended"),
    "terminate": ({"signal": "SIGTERM"}, "PENDING", "SUCCESS", "1 had ended"),
    "move": ({"queue": "slow"}, "PENDING", "SUCCESS", "1 had ended"),
    "prioritize": ({"priority": "9"}, "PENDING", "FAILURE", "1 had ended"),
    "delete": ({}, "FAILURE", "PENDING", "1 had not ended"),
}


def test_each_action_on_tasks_has_a_case() -> None:
    assert {key for of, key in ACTIONS if of == "taskrun"} == CASES.keys()


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("key", CASES)
def test_task_is_in_another_state_when_it_is_pressed(
    admin_client: Client,
    make_run: Callable[..., TaskRun],
    make_messages: Callable[..., None],
    key: str,
    as_json: bool,
) -> None:
    data, before, after, expected = CASES[key]
    run = make_run(state=before, arguments="[[], {}]", **(ENDED if before == "FAILURE" else {}))
    page = f"/admin/taskq/taskrun/{run.pk}/change/"
    assert f"{DO}{key}/" in admin_client.get(page).content.decode()
    new = ENDED if after != "PENDING" else {"started_at": None, "finished_at": None}
    TaskRun.objects.update(state=after, **new)
    if after == "PENDING":
        make_messages("mails", task_id="run-1")
    left = rows()
    query = "?format=json" if as_json else ""
    answer = admin_client.post(f"{DO}{key}/{query}", {"id": "run-1", "confirmed": "1", **data})
    if as_json:
        assert answer.json()["done"] == 0
        said = " ".join(message["text"] for message in answer.json()["messages"])
    else:
        said = " ".join(map(str, get_messages(answer.wsgi_request)))
    assert expected in said
    assert rows() == left
    assert not LogEntry.objects.exists(), "nothing was done"


@pytest.mark.parametrize("key", CASES)
def test_task_is_gone_when_it_is_pressed(admin_client: Client, db: None, key: str) -> None:
    answer = admin_client.post(f"{DO}{key}/", {"id": "run-1", "confirmed": "1", **CASES[key][0]})
    assert [str(message) for message in get_messages(answer.wsgi_request)] == ["run-1 is gone."]


@pytest.mark.parametrize("key", ["retry", "rerun", "change"])
def test_of_two_presses_in_place_the_second_finds_it_waiting(
    admin_client: Client, make_run: Callable[..., TaskRun], key: str
) -> None:
    make_run(state="FAILURE", arguments="[[], {}]", **ENDED)
    shown = admin_client.get(f"{DO}{key}/", {"id": "run-1"}).context["shown"]
    data = {"id": "run-1", "confirmed": "1", "shown": shown}
    admin_client.post(f"{DO}{key}/", data)
    answer = admin_client.post(f"{DO}{key}/", data)
    said = str(list(get_messages(answer.wsgi_request))[-1])
    assert "has not ended" in said if key != "rerun" else "again already" in said
    assert Message.objects.count() == 1


def rows() -> list[Any]:
    columns = ("task_id", "state", "queue", "priority", "arguments")
    return [
        *TaskRun.objects.values_list(*columns),
        *Message.objects.values_list("task_id", "queue", "priority", "revoked"),
    ]
