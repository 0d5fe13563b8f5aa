"""The lines that ``taskmulti`` prints of nodes that it starts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import pytest

from taskq.management.multi import cluster
from taskq.management.multi.cluster import Cluster
from taskq.management.multi.command_line import read
from taskq.management.multi.nodes import Node, nodes_of
from taskq.management.multi.starting import Started


def printed(monkeypatch: pytest.MonkeyPatch, **said: tuple[int, list[str]]) -> list[str]:
    """Start nodes, each of which ends with a status and lines; return what is printed."""

    def start(nodes: Iterable[Node], *_: object) -> Iterator[Started]:
        return (Started(node, *said[node.name.partition("@")[0]]) for node in nodes)

    lines: list[str] = []

    def say(text: str, /, *, end: str = "\n", is_error: bool = False) -> None:
        lines.append(text)

    monkeypatch.setattr(cluster, "start", start)
    nodes: Sequence[Node] = nodes_of(read([f"{name}@h" for name in said], {}, stops=False), "taskq")
    succeeded = Cluster(nodes, ["python"], "taskworker --detach", say).start()
    assert succeeded == all(status == 0 for status, _ in said.values())
    return lines


def test_what_all_workers_warn_of_is_printed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    warned = (0, ["WARNINGS:", "not in WAL mode"])
    assert printed(monkeypatch, w1=warned, w2=warned, w3=(0, ["another"]), w4=warned) == [
        "> Starting nodes...",
        "\t> w1@h: OK", "\t  WARNINGS:", "\t  not in WAL mode",
        "\t> w2@h: OK",
        "\t> w3@h: OK", "\t  another",
        "\t> w4@h: OK",
    ]  # fmt: skip


def test_each_failure_has_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = (1, ["no such database"])
    assert printed(monkeypatch, w1=failed, w2=failed) == [
        "> Starting nodes...",
        "\t> w1@h: FAILED", "\t  no such database",
        "\t> w2@h: FAILED", "\t  no such database",
    ]  # fmt: skip
