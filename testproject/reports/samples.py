"""Files to try the site with: ``SAMPLES`` maps what the form offers to their names and texts."""

from __future__ import annotations


def _orders() -> str:
    rows = (f"{number},{number % 7 + 1},{(number * 37) % 100 + 0.99:.2f}" for number in range(1, 401))
    return "\n".join(["order,pieces,price", *rows]) + "\n"


def _essay() -> str:
    sentence = "A task that waits is a promise, and a promise that is kept is a result."
    return "\n".join(f"{number}. {sentence}" for number in range(1, 301)) + "\n"


def _broken() -> str:
    return _orders() + "401,2\n"


SAMPLES: dict[str, str] = {
    "orders.csv": _orders(),
    "essay.txt": _essay(),
    "broken.csv": _broken(),
}
