"""Whether somebody reads events, on the database."""

from __future__ import annotations

from typing import Any

import pytest
from kombu.connection import Connection

from taskq.events import names

pytestmark = pytest.mark.django_db


def test_a_worker_that_nobody_hears_asks_with_one_statement_a_topic(django_assert_num_queries: Any) -> None:
    with Connection("django://default") as connection:
        channel = connection.channel()
        names.event_exchange(connection)(channel).declare()
        with django_assert_num_queries(2):
            assert not names.is_heard(connection, channel)
        names.event_queue(connection)(channel).declare()
        assert names.is_heard(connection, channel)


def test_a_monitor_of_workers_alone_is_heard() -> None:
    with Connection("django://default") as connection:
        channel = connection.channel()
        names.event_queue(connection, "worker.#")(channel).declare()
        assert names.is_heard(connection, channel)
