"""Commands that ask and end load little, and end quickly. A worker loads without looking for garbage in the project."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from django.core.management import get_commands, load_command_class

from taskq.management.commands import taskworker
from tests.support.processes import ROOT

#: Prints the modules that a process has which has read all commands of remote control, and has asked nobody yet.
_LOADED = """
import json, sys
import django
django.setup()
import taskq.management.remote
from taskq.control import registry
registry.load()
print(json.dumps(list(sys.modules)))
"""


@pytest.fixture
def frozen() -> Iterator[Callable[[], int]]:
    """Return how many objects are left out of searches for garbage, none at first."""
    gc.unfreeze()
    yield gc.get_freeze_count
    gc.unfreeze()


@pytest.mark.parametrize("name", [
    "taskcall", "taskcontrol", "taskhealth", "taskinspect", "taskmetrics", "taskpurge", "taskqueues", "taskreport",
    "taskresult", "taskstatus",
])  # fmt: skip
def test_a_command_that_ends_leaves_nothing_to_search_for_garbage(name: str, frozen: Callable[[], int]) -> None:
    command = load_command_class(get_commands()[name], name)
    with pytest.raises(SystemExit):
        command.run_from_argv(["manage.py", name, "--no-such-option"])
    assert frozen() > 0


def test_worker_that_loads_does_not_search_the_project_for_garbage(
    frozen: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[int] = []
    monkeypatch.setattr(taskworker, "protect_streams", lambda: None)
    monkeypatch.setattr(taskworker.Command, "execute", lambda *args, **options: found.append(frozen()))
    load_command_class(get_commands()["taskworker"], "taskworker").run_from_argv(["manage.py", "taskworker"])
    assert found[0] > 0


def test_who_asks_loads_nothing_that_runs_tasks() -> None:
    done = subprocess.run([sys.executable, "-c", _LOADED], cwd=ROOT, capture_output=True, check=True)
    loaded = json.loads(done.stdout)
    assert "taskq.control.commands.tasks" in loaded
    needless = ("taskq.worker.loop", "taskq.worker.node", "taskq.worker.pools.base", "kombu.asynchronous")
    assert [name for name in loaded if name.startswith(needless)] == []
