"""Each room that runs tasks writes its log in one module, ``log_lines``: kept by reading the source."""

from __future__ import annotations

import ast
import re

import pytest

from taskq.execution import log_lines as execution
from taskq.hooks import Hook
from taskq.store import log_lines as store
from taskq.worker import log_lines as worker
from taskq.workflows import log_lines as workflows
from tests import rooms
from tests.support.imports import Tree

TREE = Tree()
LOG_LINES = {"worker": worker, "store": store, "execution": execution, "workflows": workflows}
#: Modules of the ground that log by themselves: they work while no room can be imported.
ON_THE_GROUND = {
    "taskq.log_escapes": "makes the loggers, and escapes their lines",
    "taskq.hooks": "logs what a subscriber raises: no hook can tell of hooks",
    "taskq.logs": "sets up the log, and says so in it",
    "taskq.signals": "logs what a receiver raises, also while no worker is imported",
}

#: Reads what tasks log, and logs nothing.
HEARS = "taskq.execution.kept_logs"


def modules(room: str) -> list[str]:
    return [module for module in TREE.modules if rooms.room_of(module) == room]


def logs(module: str) -> bool:
    """Tell whether a module writes to a log: it imports ``logging``, or asks for a logger."""
    return any(
        step.is_of("logging", "taskq.logs.get_task_logger", "taskq.log_escapes.get_logger")
        for step in TREE.imports(module)
    )


@pytest.mark.parametrize("room", LOG_LINES)
def test_a_room_logs_in_one_module(room: str) -> None:
    assert [module for module in modules(room) if logs(module) and module != HEARS] == [f"taskq.{room}.log_lines"]


def test_the_ground_logs_where_it_must() -> None:
    assert {module for module in modules("ground") if logs(module)} == ON_THE_GROUND.keys()


@pytest.mark.parametrize("room", LOG_LINES)
def test_each_event_is_a_hook_that_its_room_calls(room: str) -> None:
    module = f"taskq.{room}.log_lines"
    tree = ast.parse(TREE.text(module))
    events = {name for name, event in vars(LOG_LINES[room]).items() if isinstance(event, Hook)}
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")}
    called = {name for each in modules(room) for name in re.findall(r"\blog_lines\.(\w+)\b", TREE.text(each))}
    assert functions <= events
    assert called == events
