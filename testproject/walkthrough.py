"""What the demo does: sends the guide's tasks, uses the site as a browser would, and compares.

Called by ``testproject.demo`` while a worker and the site run on this process's
database.
"""

from __future__ import annotations

import http.cookiejar
import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import django

#: Seconds that anything may take here: a worker and a site that have just been started, on a busy machine.
PATIENCE = 60.0


def walk_through(address: str) -> bool:
    """Do all of it and print each result; return whether every one was right."""
    django.setup()
    right = True
    for title, expected, look in (*_tasks(), *_canvas(), *_pages(address)):
        started = time.monotonic()
        try:
            got: object = look()
        except Exception as error:
            got = error
        good = got == expected or repr(got) == expected
        right &= good
        note = "" if good else f"   <-- expected {expected!r}"
        print(f"{title:<58} {got!r:<40} {(time.monotonic() - started) * 1000:6.0f} ms{note}", flush=True)
    return right


Step = tuple[str, object, Callable[[], object]]


def _tasks() -> Iterator[Step]:
    from taskq import AsyncResult
    from testproject.arithmetic.tasks import add, gather, mul, succeed_at, xsum

    yield "add.delay(2, 2).get()", 4, lambda: add.delay(2, 2).get(timeout=PATIENCE)
    yield "mul.apply_async((4, 4)).get()", 16, lambda: mul.apply_async((4, 4)).get(timeout=PATIENCE)
    yield "xsum.delay([1, 2, 3]).get()", 6, lambda: xsum.delay([1, 2, 3]).get(timeout=PATIENCE)
    yield "add(2, 2), in this process", 4, lambda: add(2, 2)
    yield (
        "gather.delay([1, 2, 3]).get(), an async task",
        [1, 4, 9],
        lambda: gather.delay([1, 2, 3]).get(timeout=PATIENCE),
    )

    failed: Any = add.delay(2)  # type: ignore[call-arg]
    error = "TypeError(\"add() missing 1 required positional argument: 'y'\")"
    yield "add.delay(2).get(propagate=False)", error, lambda: failed.get(timeout=PATIENCE, propagate=False)
    yield (
        "its state, failed(), successful()",
        ("FAILURE", True, False),
        lambda: (
            failed.state,
            failed.failed(),
            failed.successful(),
        ),
    )
    yield "AsyncResult('this-id-does-not-exist').state", "PENDING", lambda: AsyncResult("this-id-does-not-exist").state
    yield "succeed_at.delay(1).get(), retried once", 1, lambda: succeed_at.delay(1).get(timeout=PATIENCE)
    yield "add.apply_async((1, 1), countdown=1), not early", (2, True), lambda: _later(add)
    yield (
        "sum of add.delay_many((i, i) for i in range(100))",
        9900,
        lambda: sum(result.get(timeout=PATIENCE) for result in add.delay_many((i, i) for i in range(100))),
    )


def _canvas() -> Iterator[Step]:
    """The guide's section "Canvas: Designing Workflows"."""
    from taskq import chain, chord, group
    from testproject.arithmetic.tasks import add, mul, xsum

    def value(result: Any) -> object:
        return result.get(timeout=PATIENCE)

    doubled, more = [i + i for i in range(10)], [i + 10 for i in range(10)]
    yield "add.s(2, 2)", "testproject.arithmetic.tasks.add(2, 2)", lambda: add.s(2, 2)
    yield "add.s(2, 2).delay()", 4, lambda: value(add.s(2, 2).delay())
    yield "add.s(2).delay(8)", 10, lambda: value(add.s(2).delay(8))
    yield "group(add.s(i, i) for i in range(10))()", doubled, lambda: value(group(add.s(i, i) for i in range(10))())
    yield "group(add.s(i) for i in range(10))(10)", more, lambda: value(group(add.s(i) for i in range(10))(10))
    yield "chain(add.s(4, 4) | mul.s(8))()", 64, lambda: value(chain(add.s(4, 4) | mul.s(8))())
    yield "chain(add.s(4) | mul.s(8))(4)", 64, lambda: value(chain(add.s(4) | mul.s(8))(4))
    yield "(add.s(4, 4) | mul.s(8))()", 64, lambda: value((add.s(4, 4) | mul.s(8))())
    yield (
        "chord((add.s(i, i) for i in range(10)), xsum.s())()",
        90,
        lambda: value(chord((add.s(i, i) for i in range(10)), xsum.s())()),
    )
    yield (
        "(group(add.s(i, i) for i in range(10)) | xsum.s())()",
        90,
        lambda: value((group(add.s(i, i) for i in range(10)) | xsum.s())()),
    )
    yield (
        "(add.s(1, 1) | group(mul.s(i) for i in range(3)))()",
        [0, 2, 4],
        lambda: value((add.s(1, 1) | group(mul.s(i) for i in range(3)))()),
    )


def _later(add: Any) -> tuple[int, bool]:
    sent = time.monotonic()
    value = add.apply_async((1, 1), countdown=1).get(timeout=PATIENCE)
    return value, time.monotonic() - sent >= 1


def _pages(address: str) -> Iterator[Step]:
    browser = Browser(address)
    yield "the site's first page", 200, browser.open
    yield "orders.csv, sent by the form", ("SUCCESS", 400), lambda: browser.order("orders.csv", "rows")
    yield "essay.txt, sent by the form", ("SUCCESS", 300), lambda: browser.order("essay.txt", "lines")
    yield "broken.csv, whose last line is bad", ("FAILURE", None), lambda: browser.order("broken.csv", "rows")
    yield "its page shows the reason", True, lambda: "the header has 3" in browser.page


class Browser:
    """As much of a browser as the demo needs: cookies, the form, and the script that polls."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.page = ""
        cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self.opener = urllib.request.build_opener(cookies)

    def open(self) -> int:
        """Open the first page, as soon as the site listens, and return the HTTP status."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                with self.opener.open(self.address, timeout=PATIENCE) as response:
                    self.page = response.read().decode()
                    return int(response.status)
            except urllib.error.HTTPError:
                raise
            except urllib.error.URLError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)

    def order(self, sample: str, figure: str) -> tuple[str, int | None]:
        """Submit the form, poll until the report is finished, and return its state and one of its figures."""
        self.open()
        report, page = self._submit(sample)
        found = re.search(r'data-status="([^"]+)"', page)
        assert found, "the report's page says where its progress is"
        end = time.monotonic() + PATIENCE
        while True:
            with self.opener.open(urllib.parse.urljoin(report, found[1]), timeout=PATIENCE) as response:
                progress = json.load(response)
            if progress["finished"]:
                break
            if time.monotonic() > end:
                raise TimeoutError(f"{sample} is still {progress['state']}")
            time.sleep(0.1)
        with self.opener.open(report, timeout=PATIENCE) as response:
            self.page = response.read().decode()
        return progress["state"], (progress["summary"] or {}).get(figure)

    def _submit(self, sample: str) -> tuple[str, str]:
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', self.page)
        assert token, "the form has a CSRF token"
        form = urllib.parse.urlencode({"csrfmiddlewaretoken": token[1], "sample": sample}).encode()
        with self.opener.open(self.address, data=form, timeout=PATIENCE) as response:
            return response.url, response.read().decode()
