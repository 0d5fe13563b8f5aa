"""What a user does in the admin, from seeing that something is wrong to seeing it right: with a real worker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from django.db.models import F, Max

from taskq import chain, control
from taskq.models import Attempt, ErrorCount, Failure, Message, QueuePause, TaskRun, Worker
from testproject.arithmetic.tasks import add, fail
from testproject.arithmetic.tasks import sleep as rest
from testproject.reports.models import Report
from testproject.reports.tasks import build
from tests.support.databases import Database
from tests.support.processes import Process, Processes
from tests.support.waiting import wait_until

from .visitor import Visitor

EVERY_SECOND = "[data-taskq-refresh] select"
#: The priority of tasks that pass by what the shop has sent.
SOON = 9


def ended(task_id: str, shop: Database, state: str = "FAILURE") -> TaskRun:
    def found() -> TaskRun | None:
        return TaskRun.objects.using(shop.alias).filter(task_id=task_id, state=state).first()

    return wait_until(found, what=f"{task_id} is {state}")  # type: ignore[return-value]


def page_of(visitor: Visitor, run: TaskRun) -> Any:
    visitor.open(f"/admin/taskq/taskrun/{run.pk}/change/")
    visitor.page.locator(EVERY_SECOND).select_option("1")
    return visitor.page


def test_why_a_report_failed_and_its_retry_without_a_mouse(visitor: Visitor, shop: Database) -> None:
    report = Report.objects.using(shop.alias).create(title="broken.csv", source="order,pieces\n1\n")
    run = ended(build.delay(report.pk).id, shop)
    Report.objects.using(shop.alias).filter(pk=report.pk).update(source="order,pieces\n1,2\n" * 200)

    visitor.open("/admin/taskq/taskrun/?tab=failed")
    page = visitor.page
    page.locator("#result_list").get_by_text("line 2 has 1 columns, the header has 2").first.wait_for()
    page = page_of(visitor, run)
    assert "UnreadableFile" in page.locator("#taskq-story").inner_text()
    loaded = page.evaluate("window.loaded = performance.timeOrigin")

    # With the keyboard alone: to the button, and press it.
    page.locator("h1").evaluate("title => { title.tabIndex = -1; title.focus(); }")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent.trim()") == "Retry":
            break
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert page.evaluate("performance.timeOrigin") != loaded
    loaded = page.evaluate("performance.timeOrigin")
    page.locator("#taskq-state", has_text="SUCCESS").wait_for()
    # It went on by itself: nobody has loaded the page anew.
    assert page.evaluate("performance.timeOrigin") == loaded
    ended(run.task_id, shop, "SUCCESS")


def many_failures(shop: Database, like: Sequence[TaskRun], number: int) -> None:
    """Copy failed runs until there are so many, with their failures and counts, as workers would have left them."""
    alias = shop.alias
    failures = {each.run_id: each for each in Failure.objects.using(alias).filter(run_id__in=[run.pk for run in like])}
    first = 1 + (TaskRun.objects.using(alias).aggregate(last=Max("pk"))["last"] or 0)
    runs, copies, counts = [], [], Counter[str]()
    fields = {field.name for field in TaskRun._meta.concrete_fields} - {"id", "task_id"}
    for place in range(number):
        run = like[place % len(like)]
        failure = failures[run.pk]
        values = {name: getattr(run, name) for name in fields}
        runs.append(TaskRun(id=first + place, task_id=f"copy-{place}-of-{run.task_id}", **values))
        copies.append(Failure(first + place, failure.error, failure.exception, failure.message))
        counts[failure.error] += 1
    TaskRun.objects.using(alias).bulk_create(runs, batch_size=500)
    Failure.objects.using(alias).bulk_create(copies, batch_size=500)
    for key, count in counts.items():
        ErrorCount.objects.using(alias).filter(error=key).update(failures=F("failures") + count)


def test_one_kind_of_error_among_10_000_is_retried_as_a_lot(visitor: Visitor, shop: Database) -> None:
    sent = [
        fail.apply_async((message,), priority=SOON).id
        for message in ("the bank says no", "the clerk is away", "no shop", "a gift")
    ]
    bank, *others = [ended(task_id, shop) for task_id in sent]
    # One of forty: 250 of 10,000.
    many_failures(shop, [bank, *others * 13], 10_000)
    visitor.open("/admin/taskq/taskrun/?tab=failed")
    page = visitor.page
    assert "10,0" in page.locator(".taskq-selected .taskq-count").inner_text()
    visitor.open("/admin/taskq/error/")
    row = page.locator("tr", has_text="the bank says no").filter(has_text="ValueError")
    with page.expect_navigation():
        row.get_by_role("link", name="Retry").click()
    assert page.locator("#content").get_by_text("251").count()
    with page.expect_navigation():
        page.locator("#content form input[type=submit]").first.click()

    def again() -> list[str]:
        found = Attempt.objects.using(shop.alias).filter(task_id__startswith="copy-").values_list("task_id", flat=True)
        return list(found)

    wait_until(lambda: len(again()) >= 250, what="each of them was retried")
    assert {task_id.partition("-of-")[2] for task_id in again()} == {bank.task_id}
    assert len(set(again())) == 250


def test_a_workflow_is_revoked_half_way(visitor: Visitor, shop: Database) -> None:
    result = chain(add.si(1, 1), rest.si(600), add.si(2, 2)).apply_async(priority=SOON)
    last, first = result, result.parent.parent
    run = ended(first.id, shop, "SUCCESS")
    visitor.open(f"/admin/taskq/taskrun/{run.pk}/change/")
    page = visitor.page
    with page.expect_navigation():
        page.locator("#taskq-picture a").first.click()
    page.locator(EVERY_SECOND).select_option("1")
    button = page.locator(".taskq-actions").get_by_text("Revoke the whole")
    with page.expect_navigation():
        button.click()
    page.get_by_label("End running tasks too").check()
    with page.expect_navigation():
        page.locator("#content form input[type=submit]").first.click()
    assert ended(last.id, shop, "REVOKED")
    page.locator("#content", has_text="REVOKED").wait_for()


def toggle_events(visitor: Visitor, button: str) -> None:
    """Press a button of the worker's page, and the one that confirms it."""
    page = visitor.page
    with page.expect_navigation():
        page.locator(".taskq-actions").get_by_text(button).click()
    if page.locator("#content form.taskq-form").count():
        with page.expect_navigation():
            page.locator("#content form input[type=submit]").first.click()


def test_events_are_turned_on_and_off_and_the_timeline_and_the_dump_have_more_or_not(
    visitor: Visitor, shop: Database, commands: Processes
) -> None:
    dump = commands.start("taskevents", "--dump")
    # It listens by then.
    dump.wait_for_log("heartbeat")
    worker = Worker.objects.using(shop.alias).get(name__startswith="taskq@")
    own = f"/admin/taskq/worker/{worker.pk}/change/"
    visitor.open(own)
    visitor.page.locator(EVERY_SECOND).select_option("1")
    toggle_events(visitor, "Events on")
    run = ended(add.apply_async((3, 4), priority=SOON).id, shop, "SUCCESS")
    page_of(visitor, run).locator("#taskq-facts", has_text="Received").wait_for()
    dump.wait_for_log(f"succeeded.*{run.task_id}|{run.task_id}.*succeeded")

    visitor.open(own)
    visitor.page.locator(".taskq-actions").get_by_text("Events off").wait_for()
    toggle_events(visitor, "Events off")
    quiet = ended(add.apply_async((5, 6), priority=SOON).id, shop, "SUCCESS")
    assert control.enable_events(reply=True, limit=1, timeout=60)
    last = ended(add.apply_async((7, 8), priority=SOON).id, shop, "SUCCESS")
    # What was to come before it would have come.
    dump.wait_for_log(last.task_id)
    assert quiet.task_id not in dump.log


@pytest.fixture
def resumed(shop: Database) -> Iterator[None]:
    """No queue stays paused, whatever happens."""
    yield
    QueuePause.objects.using(shop.alias).all().delete()


@pytest.mark.usefixtures("resumed")
def test_a_paused_queue_says_why_its_tasks_wait(visitor: Visitor, shop: Database, shop_worker: Process) -> None:
    visitor.open("/admin/taskq/queue/taskq/change/")
    page = visitor.page
    with page.expect_navigation():
        page.locator(".taskq-actions").get_by_text("Pause").click()
    page.locator("[name=confirm-reason]").fill("the mail server is down")
    with page.expect_navigation():
        page.locator("#content form input[type=submit]").first.click()
    shop_worker.wait_for_log("Paused: nothing is taken from taskq")
    run = TaskRun.objects.using(shop.alias).get(task_id=add.apply_async((5, 5), priority=SOON).id)
    page = page_of(visitor, run)
    page.locator("#taskq-story", has_text="the mail server is down").wait_for()
    assert Message.objects.using(shop.alias).filter(task_id=run.task_id, token="").exists()
    visitor.open("/admin/taskq/queue/taskq/change/")
    page.locator(".taskq-actions").get_by_text("Resume").click()
    ended(run.task_id, shop, "SUCCESS")
