"""What the shared bench's producer imports: a Django process that sends."""

from __future__ import annotations

from collections.abc import Iterable

import django

django.setup()

from taskq_bench.marking.tasks import noop  # noqa: E402 - apps first


def enqueue(i: int) -> None:
    noop.delay(i)


def enqueue_many(ids: Iterable[int]) -> None:
    noop.delay_many((i,) for i in ids)
