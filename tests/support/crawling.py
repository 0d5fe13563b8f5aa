"""Goes from page to page of a site: the addresses that a page leads to, and which of them are alike."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit


def links(address: str, answer: Any, section: str, typed: Sequence[str] = ()) -> Iterator[str]:
    """Yield the addresses below ``section`` that an answer of Django's test client leads to.

    Forms that search are sent with each choice of each list, and with each of the texts ``typed`` in each field.
    """
    found: list[str] = []
    if answer.status_code in (301, 302):
        found = [answer.headers["Location"]]
    elif answer.status_code == 200 and answer.headers["Content-Type"].startswith("text/html"):
        page = _Page(typed)
        page.feed(answer.content.decode())
        found = page.links
    for link in found:
        whole = urlsplit(urljoin(address, link))
        if whole.path.startswith(section):
            yield whole.path + (f"?{whole.query}" if whole.query else "")


def pattern(address: str) -> str:
    """Return what addresses have in common that differ in an id, or in the value of one filter."""
    whole = urlsplit(address)
    path = re.sub(r"/[^/]*\d[^/]*(?=/)", "/*", whole.path)
    names = {name for name, _ in parse_qsl(whole.query, keep_blank_values=True)}
    return f"{path}?{'&'.join(sorted(names))}"


class _Page(HTMLParser):
    """The links of a page, and the addresses that its forms of the kind GET lead to."""

    def __init__(self, typed: Sequence[str]) -> None:
        super().__init__()
        self.typed = typed
        self.links: list[str] = []
        self.fields: dict[str, list[str]] = {}
        self.hidden: dict[str, str] = {}
        self.form: str | None = None
        self.field = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "a":
            self.links.append(given.get("href", ""))
        elif tag == "form":
            self.form = given.get("action", "") if given.get("method", "get").lower() == "get" else None
            self.fields, self.hidden = {}, {}
        elif self.form is not None and tag in ("input", "select") and given.get("name"):
            self._field(tag, given)
        elif self.form is not None and tag == "option" and self.field:
            self.fields[self.field].append(given.get("value", ""))

    def _field(self, tag: str, given: dict[str, str]) -> None:
        self.field = given["name"] if tag == "select" else ""
        if given.get("type") == "hidden":
            self.hidden[given["name"]] = given.get("value", "")
        elif tag == "select" or given.get("type", "text") in ("text", "search"):
            self.fields[given["name"]] = [] if tag == "select" else list(self.typed)

    def handle_endtag(self, tag: str) -> None:
        if tag == "form" and self.form is not None:
            for name, values in self.fields.items():
                self.links += [f"{self.form}?{urlencode({**self.hidden, name: value})}" for value in values if value]
            self.form = None
