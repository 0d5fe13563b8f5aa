"""Whether somebody reads events, on the database."""

from __future__ import annotations

from typing import Any

import pytest
from kombu.connection import Connection

from taskq.events import names

pytestmark = pytest.mark.django_db


def test_a_worker_that_nobody_hears_asks_with_one_statement(django_assert_num_queries: Any) -> None:
    with Connection("django://default") as connection:
        channel = connection.channel()
        names.event_exchange(connection)(channel).declare()
        with django_assert_num_queries(1):
            assert not names.is_heard(connection, channel)
        names.event_queue(connection)(channel).declare()
        assert names.is_heard(connection, channel)


@pytest.mark.parametrize("key", ["worker.#", "shop.#", "shop.order.paid"])
def test_a_monitor_of_few_events_is_heard(key: str) -> None:
    with Connection("django://default") as connection:
        channel = connection.channel()
        names.event_queue(connection, key)(channel).declare()
        assert names.is_heard(connection, channel)
