"""What PostgreSQL reads for a statement: EXPLAIN (ANALYZE, BUFFERS) of the statements that taskq runs.

Each statement is explained in a savepoint that is rolled back, and then runs as it would have.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from django.db import connections, transaction

_VERBS = ("SELECT", "UPDATE", "DELETE", "INSERT", "WITH")


@dataclass(frozen=True, slots=True)
class Plan:
    """A statement with the plan of its execution."""

    sql: str
    root: dict[str, Any] = field(repr=False)

    @property
    def buffers(self) -> int:
        """How many buffers were read to find the rows; what writing rows and index entries touches is not counted."""
        if self.root["Node Type"] != "ModifyTable":
            return _read(self.root)
        # An InitPlan is read by one of the others, which counts its buffers too.
        return sum(_read(node) for node in self.root["Plans"] if node["Parent Relationship"] != "InitPlan")

    @property
    def rows(self) -> int:
        """How many rows it found or changed."""
        found: int = self.root["Actual Rows"]
        if self.root["Node Type"] == "ModifyTable":
            found = max(node["Actual Rows"] for node in self.root["Plans"])
        return found

    def __str__(self) -> str:
        return "\n".join([self.sql[:300], *_lines(self.root, 0)])


def _lines(node: dict[str, Any], depth: int) -> Iterator[str]:
    index = " ".join(str(node[key]) for key in ("Relation Name", "Index Name", "Index Cond", "TID Cond") if key in node)
    yield f"{'  ' * depth}{node['Node Type']} {index} rows={node['Actual Rows']} buffers={_read(node)}"
    for child in node.get("Plans", ()):
        yield from _lines(child, depth + 1)


def _read(node: dict[str, Any]) -> int:
    return int(node["Shared Hit Blocks"]) + int(node["Shared Read Blocks"])


@contextmanager
def explained(alias: str, part: str = "taskq_") -> Iterator[list[Plan]]:
    """Collect the plans of the statements that run meanwhile on this thread's connection and that have ``part``."""
    plans: list[Plan] = []

    def wrapper(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith(_VERBS) and part in sql and not many:
            with transaction.atomic(alias):
                execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", params, many, context)
                answer = context["cursor"].fetchone()[0]
                transaction.set_rollback(True, alias)
            plans.append(Plan(sql, (json.loads(answer) if isinstance(answer, str) else answer)[0]["Plan"]))
        return execute(sql, params, many, context)

    with connections[alias].execute_wrapper(wrapper):
        yield plans
