"""Somebody with a browser: opens pages, and keeps what the browser complains of."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any


class Visitor:
    """A page of a browser, with what tests ask of it."""

    def __init__(self, context: Any, shots: Path | None) -> None:
        self.context = context
        self.page = context.new_page()
        self.shots = shots
        self.complaints: list[str] = []
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(f"{self.page.url}: {error}"))

    def _heard(self, message: Any) -> None:
        # Nobody has an icon for the browser's tab.
        if message.type in ("error", "warning") and not message.location["url"].endswith("/favicon.ico"):
            self.complaints.append(f"{self.page.url}: {message.text}")

    def open(self, address: str) -> None:
        """Open a page, which has to answer."""
        answer = self.page.goto(address)
        assert answer is not None
        assert answer.status == 200, f"{address}: {answer.status}"

    def links(self) -> list[str]:
        """Return the addresses of the links of the page, without the part for the place in a page."""
        # Links within pictures have another kind of href.
        whole = "links => links.map((link) => new URL(link.getAttribute('href'), location.href).href.split('#')[0])"
        found = self.page.eval_on_selector_all("a[href]", whole)
        return [str(link) for link in found]

    def width(self) -> int:
        """Return how wide the page is."""
        return int(self.page.evaluate("document.scrollingElement.scrollWidth"))

    def shoot(self, name: str) -> None:
        """Keep a picture of the page, if somebody wants it."""
        if self.shots is not None:
            self.page.screenshot(path=self.shots / f"{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-')}.png")
