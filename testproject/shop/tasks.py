"""A shop's tasks: quick and slow ones, with progress, retries and failures. They do nothing for real."""

from __future__ import annotations

import time
from typing import Any

from django.conf import settings

from taskq import get_task_logger, task

from .errors import CardDeclined, OutOfStock

logger = get_task_logger(__name__)


def _rest(parts: float = 1) -> None:
    time.sleep(settings.REPORTS_PAUSE * parts)


@task(bind=True, autoretry_for=(ConnectionError,), max_retries=3, retry_backoff=True, retry_jitter=False)
def send_mail(self: Any, order_id: int, to: str = "ann@example.org") -> str:
    """Send a mail. The server refuses every third order at first, and every fifteenth to the end."""
    _rest()
    if order_id % 3 == 0 and (self.request.retries == 0 or order_id % 15 == 0):
        raise ConnectionError(f"mail.example.org:25 refused the mail of order {order_id}")
    return f"to {to}"


@task(sensitive=("card",))
def charge(order_id: int, card: str, cents: int = 4_950) -> dict[str, Any]:
    """Charge a card, unless the bank declines it. The number of the card is in no row."""
    _rest()
    if order_id % 4 == 0:
        raise CardDeclined(f"order {order_id}: the bank declined {cents / 100:.2f} EUR")
    return {"order": order_id, "cents": cents}


@task(track_started=True)
def pack(order_id: int, articles: list[str]) -> list[str]:
    """Take articles from the shelves; of one there is none."""
    _rest(2)
    if missing := [article for article in articles if article.endswith("-0")]:
        raise OutOfStock(f"order {order_id}: none of {missing[0]!r} is left")
    return [f"packed {article}" for article in articles]


@task
def find_price(article: str) -> int:
    """Look up a price; of an article that the list does not know there is none."""
    return {"cup-1": 950, "cup-2": 1_250}[article]


@task(bind=True, track_started=True)
def import_orders(self: Any, file: str, rows: int = 40) -> dict[str, int]:
    """Read a file row by row, tell how far it is, and log each part."""
    logger.info("reading %s", file)
    for row in range(rows):
        _rest(0.5)
        self.update_state(state="PROGRESS", meta={"done": row + 1, "total": rows})
        if row % 10 == 9:
            logger.info("%d of %d rows", row + 1, rows)
    logger.warning("%s had no row without an order", file)
    return {"rows": rows}


@task
def chatter(lines: int = 300) -> int:
    """Log a lot, some of it worth a look."""
    for line in range(lines):
        level = logger.error if line % 100 == 99 else logger.info
        level("line %d: the shelf says %r", line, "<b>nothing</b>")
    return lines


@task
def resize(picture: str, width: int = 800) -> str:
    """Make a picture smaller: the first link of a chain."""
    _rest()
    return f"{picture.removesuffix('.png')}-{width}.png"


@task
def publish(picture: str) -> str:
    """Put a picture on the site: the last link of a chain."""
    _rest()
    return f"https://shop.example.org/{picture}"


@task
def count_shelf(shelf: int) -> int:
    """Count a shelf: a member of a chord."""
    _rest(2)
    return shelf * 7 % 40


@task
def stock_report(counts: list[int]) -> dict[str, int]:
    """Add up the shelves: the body of a chord."""
    return {"shelves": len(counts), "articles": sum(counts)}


@task(track_started=True)
def rebuild_index(seconds: float = 120) -> str:
    """Take minutes, to have something to look into and to terminate."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.2)
    return "rebuilt"


@task
def newsletter(number: int) -> int:
    """Send what is written for later."""
    return number
