"""Every page for everybody: WCAG 2.2 AA by axe-core, light and dark, phones, a strict policy, right to left."""

from __future__ import annotations

from collections import deque
from typing import Any
from urllib.parse import urlsplit

from tests.support.crawling import pattern
from tests.support.services import module_or_skip

from .visitor import Visitor

SECTION = "/admin/taskq/"
#: Addresses to begin with, besides what links lead to.
BEGINNING = (SECTION, f"{SECTION}taskrun/?tab=failed")
#: What axe-core finds in Django's own parts of the page, which are not ours to mend: the rule, and where.
DJANGOS = {"link-in-text-block": ".breadcrumbs"}
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}


def violations(page: Any, axe: Any, rules: dict[str, Any]) -> list[str]:
    """Return what axe-core finds in the whole page: the rule, and where."""
    found = page.evaluate(f"axe.run(document, {{resultTypes: ['violations'], runOnly: {rules}}})")
    return [
        f"{rule['id']}: {node['html'][:160]} ({node['failureSummary'].splitlines()[-1].strip()[:160]})"
        for rule in found["violations"]
        for node in rule["nodes"][:3]
        if not DJANGOS.get(rule["id"]) or not str(node["target"][0]).startswith(DJANGOS[rule["id"]])
    ]


def problems(visitor: Visitor, axe: Any, name: str, *, dark: bool) -> list[str]:
    """Look at the page that is open: in light, in dark if that is asked for, and on a phone."""
    page = visitor.page
    page.evaluate(axe.axe_script)
    found = violations(page, axe, {"type": "tag", "values": RULES})
    visitor.shoot(f"{name} 1280 light")
    if dark:
        page.emulate_media(color_scheme="dark")
        # Django's colours change slowly.
        page.evaluate("Promise.all(document.getAnimations().map((each) => each.finished))")
        found += [f"dark: {text}" for text in violations(page, axe, {"type": "rule", "values": ["color-contrast"]})]
        visitor.shoot(f"{name} 1280 dark")
    page.set_viewport_size(PHONE)
    if visitor.width() > PHONE["width"]:
        found.append(f"phone: the page is {visitor.width()} wide")
    visitor.shoot(f"{name} 390 {'dark' if dark else 'light'}")
    page.emulate_media(color_scheme="light")
    page.set_viewport_size(DESK)
    return found


def test_every_page_is_accessible_and_narrow(visitor: Visitor) -> None:
    axe = module_or_skip("axe_playwright_python.sync_playwright").Axe()
    waiting, seen, found = deque(BEGINNING), {pattern(SECTION)}, {}
    in_dark: set[str] = set()
    while waiting:
        address = waiting.popleft()
        visitor.open(address)
        # The pages that ask before an action have one look: their forms differ, their colours do not.
        looks = "asks" if "/do/" in address else address
        if visitor.page.locator("body.taskq").count():
            if bad := problems(visitor, axe, address, dark=looks not in in_dark):
                found[address] = bad
            in_dark.add(looks)
        for link in visitor.links():
            path = urlsplit(link).path
            if path.startswith(SECTION) and pattern(path) not in seen:
                seen.add(pattern(path))
                waiting.append(link)
    assert len(seen) > 5
    assert not found, "\n".join(f"{address}\n  " + "\n  ".join(bad) for address, bad in found.items())
