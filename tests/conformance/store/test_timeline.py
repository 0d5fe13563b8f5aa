"""The timeline of tasks: what workers write of them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext

from taskq.models import TaskEvent
from taskq.store import timeline
from taskq.store.timeline import Moment

NOW = 1_700_000_000.123457


@pytest.mark.parametrize("count", [1, 500])
def test_moments_are_written_as_they_are(alias: str, count: int) -> None:
    moments = [Moment(f"t{n}", "revoked", NOW, "caf\u00e9 '\"% \\ %s") for n in range(count)]
    with CaptureQueriesContext(connections[alias]) as queries:
        timeline.write("w@h", moments, alias)
    written = [query for query in queries if "INSERT" in query["sql"]]
    assert len(written) == 1
    rows = TaskEvent.objects.using(alias).order_by("id")
    assert list(rows.values_list("task_id", "kind", "worker", "detail")) == [
        (m.task_id, m.kind, "w@h", m.detail) for m in moments
    ]
    assert rows[0].at == datetime.fromtimestamp(NOW, UTC)
