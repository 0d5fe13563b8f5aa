"""Pages for who uses no mouse, reads from the right, or has colours of their own."""

from __future__ import annotations

from typing import Any

import pytest

from taskq import chain
from taskq.models import Node, TaskRun
from testproject.arithmetic.tasks import add, fail
from tests.support.databases import Database
from tests.support.processes import Process
from tests.support.waiting import wait_until

from .visitor import Visitor

SECTION = "/admin/taskq/"
#: What the element that has the focus is, and whether one sees that it has it.
FOCUSED = """() => {
  const node = document.activeElement, style = getComputedStyle(node);
  const own = node.closest("a, button, input, select, summary, [tabindex]") ?? node;
  const before = [style.outlineStyle, style.outlineWidth, style.boxShadow, style.borderColor].join();
  const seen = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
  node.blur();
  const after = getComputedStyle(node);
  const changes = [after.outlineStyle, after.outlineWidth, after.boxShadow, after.borderColor].join() !== before;
  node.focus();
  return {node: own.outerHTML.slice(0, 120), seen: seen || changes};
}"""
#: Pairs of texts of the content that lie upon each other.
OVERLAPS = """() => {
  const boxes = [];
  const walker = document.createTreeWalker(document.querySelector("#content"), NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode, parent = node.parentElement;
    const hidden = "svg, thead, option, .taskq-aside, .taskq-why, details:not([open]), [hidden]";
    if (!node.data.trim() || parent.closest(hidden)) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const box of range.getClientRects()) if (box.width > 1) boxes.push([node.data.trim().slice(0, 40), box]);
  }
  const found = [];
  boxes.forEach(([text, a], place) => boxes.slice(place + 1).forEach(([other, b]) => {
    const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    if (wide > 3 && high > 6) found.push(`${text} | ${other}`);
  }));
  return found.slice(0, 5);
}"""


def tab_to(page: Any, selector: str, most: int = 150) -> None:
    """Press the tabulator until an element has the focus that meets ``selector``; each one on the way is seen."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            found = page.evaluate(FOCUSED)
            assert found["seen"], found
            return
    pytest.fail(f"the keyboard does not reach {selector} on {page.url}")


def test_everything_is_reached_without_a_mouse(visitor: Visitor, shop: Database) -> None:
    result = chain(add.si(1, 1), add.si(2, 2)).apply_async(priority=9)
    rows = TaskRun.objects.using(shop.alias).filter(task_id=result.id, state="SUCCESS")
    wait_until(rows.exists, what="the workflow has ended")
    visitor.open(f"{SECTION}taskrun/?root={result.parent.id}")
    page = visitor.page

    # The list, from the top to its rows: refreshing, tabs, filters, actions.
    tab_to(page, "[data-taskq-refresh] select")
    page.keyboard.press("End")
    chosen = page.locator("[data-taskq-refresh] select")
    assert chosen.input_value() == chosen.locator("option").last.get_attribute("value")
    for selector in (".taskq-tabs a", "input[name=q]", "input[name=name]", "#taskq-search-more summary"):
        tab_to(page, selector)
    page.keyboard.press("Enter")
    assert page.locator("#taskq-search-more").get_attribute("open") is not None
    tab_to(page, "select[name=scope]")
    tab_to(page, "#taskq-act button")
    tab_to(page, "#result_list input[type=checkbox]")
    page.keyboard.press("Space")
    assert page.locator("#result_list input:checked").count() == 1
    tab_to(page, "#result_list a.taskq-name")
    with page.expect_navigation():
        page.keyboard.press("Enter")

    # The page of the task: a fold, the picture of its workflow, and an action, which is then cancelled.
    own = page.url
    tab_to(page, ".taskq-actions a.taskq-destroys")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    tab_to(page, ".submit-row input[type=submit]")
    tab_to(page, ".submit-row a.closelink")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    page.goto(own)
    tab_to(page, "#taskq-graph")
    tab_to(page, "#taskq-graph a")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert page.url != own


@pytest.fixture(scope="module")
def pages(shop: Database, shop_worker: Process) -> list[str]:
    """The addresses of the overview, of lists, and of the page of a failed task and of a workflow."""
    # The worker may have begun just now: a failure of our own.
    failed = TaskRun.objects.using(shop.alias).filter(task_id=fail.apply_async(("no",), priority=9).id, state="FAILURE")
    wait_until(failed.exists, what="the task to fail")
    run = failed.get()
    root = Node.objects.using(shop.alias).exclude(root_id="").latest("id").root_id
    rest = ("", "taskrun/?tab=failed", f"taskrun/{run.pk}/change/", "error/", "queue/", f"node/workflow/?root={root}")
    return [f"{SECTION}{each}" for each in rest]


def test_pages_from_the_right_are_mirrored_and_nothing_lies_upon_another(
    visitor: Visitor, chromium: Any, site: str, session: Any, pages: list[str]
) -> None:
    context = chromium.new_context(base_url=site, storage_state=session, locale="ar")
    arab = Visitor(context, visitor.shots)
    found = []
    for address in pages:
        arab.open(address)
        page = arab.page
        assert page.locator("html").get_attribute("dir") == "rtl"
        for width in (1280, 390):
            page.set_viewport_size({"width": width, "height": 900})
            arab.shoot(f"{address} {width} rtl")
            found += [f"{address} {width}: {each}" for each in page.evaluate(OVERLAPS)]
            if arab.width() > width:
                found.append(f"{address} {width}: is {arab.width()} wide")
        page.set_viewport_size({"width": 1280, "height": 900})
        title, refresh = page.locator(".taskq-bar > :first-child"), page.locator("[data-taskq-refresh]")
        if refresh.count():
            left, right = refresh.bounding_box(), title.bounding_box()
            assert left["x"] < right["x"], address
    context.close()
    assert found == []
    assert arab.complaints == []


#: What a background alone would tell, and colours of the reader's own take away.
LINED = (".taskq-button", ".taskq-tabs a", ".taskq-badge", ".taskq-tile", ".taskq-payload", ".taskq-columns")


def test_what_backgrounds_tell_is_told_by_lines_under_colours_of_the_reader(visitor: Visitor, pages: list[str]) -> None:
    page = visitor.page
    page.emulate_media(forced_colors="active")
    seen, bare = set(), []
    for address in pages[:3]:
        visitor.open(address)
        visitor.shoot(f"{address} forced colours")
        for selector in LINED:
            for width in page.locator(selector).evaluate_all(
                "nodes => nodes.map(node => parseFloat(getComputedStyle(node).borderBlockEndWidth))"
            ):
                seen.add(selector)
                if not width:
                    bare.append(f"{address}: {selector}")
    assert seen == set(LINED)
    assert bare == []
    visitor.open(pages[1])
    widths = "node => parseFloat(getComputedStyle(node).borderBlockEndWidth)"
    tabs = page.locator(".taskq-tabs")
    chosen, other = tabs.locator("a.taskq-selected").first, tabs.locator("a:not(.taskq-selected)").first
    assert chosen.evaluate(widths) > other.evaluate(widths)
