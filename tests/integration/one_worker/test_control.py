"""Remote control of a running worker: from Python, and by the management commands."""

from __future__ import annotations

import json

import pytest

from taskq import control
from tests.support.processes import Process


@pytest.fixture
def node(worker: Process) -> str:
    return worker.wait_for_log(r"(taskq@\S+) ready").group(1)


def test_ping_and_destination(node: str) -> None:
    assert control.ping(limit=1, timeout=10) == [{node: {"ok": "pong"}}]
    assert control.inspect([node], timeout=10).ping() == {node: {"ok": "pong"}}
    assert control.inspect(node, timeout=10).ping() == {"ok": "pong"}
    assert control.inspect(["nobody@nowhere"], timeout=0.3).ping() == {}
    assert control.inspect(pattern="nobody*", matcher="glob", timeout=0.3).ping() == {}


def test_an_unknown_command_is_an_error(node: str) -> None:
    assert control.broadcast("nosuch", reply=True, limit=1, timeout=10) == [{node: {"error": "KeyError('nosuch')"}}]


def test_stats(worker: Process, node: str) -> None:
    (stats,) = control.inspect([node], timeout=10).stats().values()
    assert stats["pid"] == worker.pid
    assert stats["pool"]["max-concurrency"] == len(stats["pool"]["processes"]) == 2
    json.dumps(stats)
