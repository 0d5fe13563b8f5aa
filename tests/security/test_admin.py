"""A staff user with few permissions, and rows that were made to be opened by an administrator."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from taskq.models import Attempt, Error, Message, Node, TaskRun, Worker
from taskq_admin.queries import payloads, runs, workers

#: One of each, whose texts say what they are.
ROW = {"created_at": datetime(2026, 1, 1, 12, 0, tzinfo=UTC)}
LIST, RUN, WORKERS, WORKER, QUEUES = "taskrun/", "taskrun/{}/change/", "worker/", "worker/boot/change/", "queue/"
#: Each page, the permission that opens it, and each thing on it with the permissions that it asks for besides.
TABLE: list[tuple[str, str, dict[str, tuple[str, ...]]]] = [
    (LIST, "view_taskrun", {"the-task": (), "lonely-queue": ("view_queue", "view_worker")}),
    (
        RUN,
        "view_taskrun",
        {
            "the-task": (),
            "the-argument": ("view_taskrun_payload",),
            "TheError": ("view_taskrun_payload",),
            "the-message": ("view_taskrun_payload",),
            "the-traceback": ("view_taskrun_payload",),
            "EarlierError": ("view_taskrun_payload",),
            "earlier-trace": ("view_taskrun_payload",),
        },
    ),
    (WORKERS, "view_worker", {"the-worker": (), "own-queue": ()}),
    (
        WORKER,
        "view_worker",
        {"the-worker": (), "own-queue": (), "held-task": ("view_taskrun",), "held-id": ("view_taskrun",)},
    ),
    (QUEUES, "view_queue", {"lonely-queue": (), ">no worker<": ("view_worker",)}),
    ("queue/own-queue/change/", "view_queue", {"own-queue": (), "the-worker": ("view_worker",)}),
    (
        "error/",
        "view_error",
        {"failing-task": (), "AnError": (), "its-message": ("view_taskrun", "view_taskrun_payload")},
    ),
    ("node/", "view_node", {"flowing": (), "root-1": ()}),
    (
        "node/workflow/?root=root-1",
        "view_node",
        {"flowing": (), "/change/": ("view_taskrun",)},
    ),
]
ALL = {"view_taskrun", "view_taskrun_payload", "view_worker", "view_queue", "view_error", "view_node"}
EVIL = "'\"<&%s%(x)s{0.__class__}{}"


def make_rows() -> int:
    run = TaskRun.objects.create(
        **ROW,
        task_id="run",
        name="the-task",
        state="FAILURE",
        arguments='[["the-argument"], {}]',
        result='{"exc_type": "TheError", "exc_message": ["the-message"], "exc_module": "shop"}',
        traceback="the-traceback",
    )
    earlier = '{"exc_type": "EarlierError", "exc_message": [], "exc_module": "shop"}'
    Attempt.objects.create(task_id="run", state="RETRY", result=earlier, traceback="earlier-trace")
    info = json.dumps({"queues": ["own-queue"]})
    now = datetime.now(UTC)
    Worker.objects.create(token="boot", name="the-worker", info=info, started_at=now, seen_at=now)
    message: dict[str, Any] = {**ROW, "headers": "{}", "body": "[]", "properties": "{}"}
    Message.objects.create(**message, queue="own-queue", name="held-task", task_id="held-id", token="boot")
    Message.objects.create(**message, queue="lonely-queue", name="waiting", task_id="w")
    seen = {"first_seen": now, "last_seen": now, "last_run": run.pk}
    Error.objects.create(key="k", name="failing-task", exception="AnError", message="its-message", **seen)
    Node.objects.create(**ROW, root_id="root-1", task_id="root-1", name="flowing")
    TaskRun.objects.create(**ROW, task_id="root-1", name="flowing", state="SUCCESS", root_id="root-1")
    return int(run.pk)


def logged_in(*codenames: str) -> Client:
    user, _ = User.objects.get_or_create(username=f"staff {sorted(codenames)}", password="!", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="taskq", codename__in=codenames))
    client = Client()
    client.force_login(user)
    return client


@pytest.mark.django_db
@pytest.mark.parametrize(("path", "opens", "parts"), TABLE, ids=[path for path, _, _ in TABLE])
def test_each_part_of_a_page_asks_for_the_permission_of_what_it_shows(
    path: str, opens: str, parts: dict[str, tuple[str, ...]]
) -> None:
    address = f"/admin/taskq/{path.format(make_rows())}"
    assert logged_in(*ALL - {opens}).get(address).status_code == 403
    for part, needed in parts.items():
        assert part in logged_in(opens, *needed).get(address).content.decode()
        for lacking in needed:
            assert part not in logged_in(*ALL - {lacking}).get(address).content.decode()
    assert not [
        part for part, needed in parts.items() if needed and part in logged_in(opens).get(address).content.decode()
    ]


def hostile_texts() -> dict[str, Any]:
    """Return columns as long as a writer of rows can make them; SQLite takes names of any length."""
    deep = "[" * 900 + ",".join(["1"] * 30_000) + "]" * 900
    small = ",".join(["[1]"] * 15_000)
    error = {"exc_type": EVIL * 3000, "exc_message": [EVIL * 2000], "exc_module": "shop"}
    return {
        "deep": {"arguments": f"[[{deep}], {{}}]", "result": deep, "state": "SUCCESS"},
        "deeper": {"arguments": "[" * 30_000 + "]" * 30_000, "result": "[" * 985 + "]" * 985, "state": "SUCCESS"},
        # At the level of a fold, and each as small as a fold can be.
        "folds": {"arguments": f"[[[[[[[{small}]]]]]], {{}}]", "result": f"[[[[[[{small}]]]]]]", "state": "SUCCESS"},
        "quotes": {"arguments": json.dumps([["'" * 32_000], {"x": "'" * 32_000}]), "result": json.dumps("'" * 64_000)},
        "error": {"state": "FAILURE", "result": json.dumps(error), "traceback": "'" * 70_000},
        "children": {"children": json.dumps([f"'{'&' * 250}{n}" for n in range(250)] + ["'" * 50_000])},
        "names": {name: "." * 255 for name in ("name", "queue", "worker", "root_id", "parent_id", "group_id")},
        "large": {name: "'" * 2_000_000 for name in ("arguments", "result", "traceback", "children")},
    }


@pytest.mark.django_db
@pytest.mark.parametrize("kind", hostile_texts())
def test_no_row_of_a_task_makes_a_large_page(admin_client: Client, kind: str) -> None:
    run = TaskRun.objects.create(**{**ROW, "task_id": "run", "name": "n", **hostile_texts()[kind]})
    error = json.dumps({"exc_type": "E", "exc_message": ["'" * 60_000], "exc_module": "m"})
    attempt = {"task_id": "run", "state": "FAILURE", "result": error, "traceback": "'" * 70_000, "worker": "'" * 255}
    Attempt.objects.bulk_create(Attempt(**attempt) for _ in range(100))
    for path in (RUN, LIST):
        response = admin_client.get(f"/admin/taskq/{path.format(run.pk)}")
        assert response.status_code == 200
        assert len(response.content) < 1_000_000


@pytest.mark.django_db
@pytest.mark.parametrize(
    "info", [json.dumps({"queues": ["'" * 200] * 300, "concurrency": ["'" * 900]}), "[" * 5_000_000]
)
def test_no_row_of_a_worker_makes_a_large_page(admin_client: Client, info: str) -> None:
    now = datetime.now(UTC)
    worker: dict[str, Any] = {"name": "'" * 255, "started_at": now, "seen_at": now, "lease": float("inf")}
    Worker.objects.bulk_create(Worker(**worker, token=f"{n}", info=info if n < 20 else info[:9_000]) for n in range(50))
    message: dict[str, Any] = {**ROW, "headers": "{}", "body": "[]", "properties": "{}"}
    Message.objects.bulk_create(
        Message(**message, token="1", queue="'" * 255, name="'" * 255, task_id=f"{n}{'&' * 250}") for n in range(110)
    )
    listed = workers.listed()
    assert len(listed) == 50
    for row in listed:
        shown = workers.info(row).text
        assert shown is not None
        assert len(shown.html) <= payloads.EACH
    for path in (WORKERS, "worker/1/change/"):
        response = admin_client.get(f"/admin/taskq/{path}")
        assert response.status_code == 200
        assert len(response.content) < 1_000_000


@pytest.mark.django_db
@pytest.mark.parametrize("module", ["shop", "builtins", "celery.exceptions", "taskq.exceptions"])
@pytest.mark.parametrize("name", ["Retry", "NotRegistered", EVIL])
def test_exception_data_is_shown_and_never_formatted(admin_client: Client, module: str, name: str) -> None:
    error = {"exc_type": name, "exc_message": [EVIL, {"a": EVIL}], "exc_module": module}
    run = TaskRun.objects.create(**ROW, task_id="run", name=EVIL, state="FAILURE", result=json.dumps(error))
    page = admin_client.get(f"/admin/taskq/taskrun/{run.pk}/change/").content.decode()
    assert "%s%(x)s{0.__class__}{}" in page.partition("taskq-failure")[2]


@pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
def test_queries_for_a_page_read_no_more_than_it_shows(alias: str) -> None:
    run = TaskRun.objects.using(alias).create(**{**ROW, "task_id": "run", "name": "n", **hostile_texts()["large"]})
    for _ in range(8):
        Attempt.objects.using(alias).create(task_id="run", state="RETRY", traceback="x" * 200_000)
    found: Any = runs.find(run.pk)
    assert len(found.cut_arguments) == len(found.cut_result) == payloads.LIMIT + 1
    tries = runs.attempts("run")
    assert all(attempt.get_deferred_fields() == {"result", "traceback"} for attempt in tries)
    assert list(runs.attempt_contents(tries, payloads.Space())) == [
        attempt.pk for attempt in tries[-1 : -runs.FEW - 1 : -1]
    ]
    now = datetime.now(UTC)
    Worker.objects.using(alias).create(token="boot", name="w", info="[" * 2_000_000, started_at=now, seen_at=now)
    (worker,) = workers.listed()
    assert workers.info(worker).queues == ()
    assert worker.get_deferred_fields() == {"info"}


@pytest.mark.parametrize(("kind", "number"), [("deep", 60), ("folds", 1000)])
def test_deep_json_is_folded_within_the_space_of_a_payload(kind: str, number: int) -> None:
    # Indented, the first of these is 54 MB.
    whole = payloads.payload(hostile_texts()[kind]["result"])
    assert whole is not None
    assert len(whole.text) <= payloads.EACH
    shown = payloads.Space().fit(whole)
    assert shown is not None
    assert shown.note == f"Only the first {len(shown.text):,} characters are shown."
    assert shown.html.count("<details>") == shown.html.count("</details>") >= number
    assert payloads.EACH * 0.9 < len(shown.html) <= payloads.EACH
