"""Traces through a real worker with a child: spans that the end of the child exports, and headers without a tracer."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from taskq import chain, chord, group
from taskq.messages import tracing
from tests.support.traced import tasks as traced

from .conftest import StartWorker

#: What these tests look at is the same on each database.
pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE_ID = CALLER.split("-")[1]
APPS = "tests.support.jobs,tests.support.traced"


def send_all() -> dict[str, Any]:
    """Send a task of each kind under the trace of the caller; return the values that their last tasks have."""
    options: Any = {"headers": {"traceparent": CALLER}}
    sent = {
        "alone": traced.headers.apply_async(**options),
        "retried": traced.tried_again.apply_async(**options),
        "chain": chain(traced.headers.s(), traced.headers.s(), traced.headers.s()).apply_async(**options),
        "body": chord(group(traced.headers.s(n) for n in range(3)), traced.headers.s()).apply_async(**options),
        "long chain": chain(*(traced.headers.s() for _ in range(45))).apply_async(**options),
    }
    traced.fails.apply_async(link_error=traced.told.s(), **options)
    inner = traced.sends.apply_async(**options).get(timeout=60)
    values = {name: result.get(timeout=60) for name, result in sent.items()}
    return {**values, "inner": traced.headers.AsyncResult(inner).get(timeout=60)}


def test_headers_of_a_trace_go_on_without_a_tracer(alias: str, start_worker: StartWorker) -> None:
    start_worker(environment={"TEST_APPS": APPS})
    sent = send_all()
    assert sent
    for name, headers in sent.items():
        assert headers["traceparent"] == CALLER, name


def test_spans_of_a_child_are_exported_when_it_ends(alias: str, start_worker: StartWorker, tmp_path: Path) -> None:
    pytest.importorskip("opentelemetry.sdk")
    path = tmp_path / "spans"
    path.touch()
    environment = {"TEST_APPS": f"{APPS},taskq.contrib.opentelemetry", "TEST_SPANS": str(path)}
    worker = start_worker(environment=environment)
    assert tracing.tracer is None  # this process only gives the headers
    sent = send_all()
    assert sent
    for name, headers in sent.items():
        assert headers["traceparent"].split("-")[1] == TRACE_ID, name
    assert path.read_text() == ""  # only the end exports
    assert worker.stop() == 0, worker.log
    spans = [json.loads(line) for line in path.read_text().splitlines()]
    assert {span["context"]["trace_id"] for span in spans} == {f"0x{TRACE_ID}"}
    runs = [span for span in spans if span["name"] == "process taskq"]
    # 1 alone, 2 tries, 3 links, 3 members and their body, 45 links, a failure and its errback, 1 that sends another.
    assert len(runs) == 1 + 2 + 3 + 4 + 45 + 2 + 2
    states = Counter(span["attributes"]["celery.state"] for span in runs)
    assert states == {"SUCCESS": len(runs) - 2, "RETRY": 1, "FAILURE": 1}
    (failure,) = (span for span in runs if span["status"]["status_code"] == "ERROR")
    assert failure["events"][0]["attributes"]["exception.message"] == "no such thing"
    _check_parents(spans, runs)


def _check_parents(spans: list[Any], runs: list[Any]) -> None:
    """Each run belongs to the caller, or to a span that was exported; a retry is linked to the try before."""
    by_id = {span["context"]["span_id"]: span for span in spans}
    caller = f"0x{CALLER.split('-')[2]}"
    assert all(span["parent_id"] == caller or span["parent_id"] in by_id for span in runs)
    first, second = (span for span in runs if span["attributes"]["celery.task_name"] == traced.tried_again.name)
    assert first["parent_id"] == second["parent_id"] == caller
    (link,) = second["links"]
    assert by_id[link["context"]["span_id"]]["parent_id"] == first["context"]["span_id"]
