"""E008: two tasks under one name."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from taskq.checks import tasks


def test_E008_two_tasks_with_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from taskq.calls import registry

    monkeypatch.setattr(registry, "duplicates", lambda: {"mail": ["shop.tasks.mail", "blog.tasks.mail"]})
    (message,) = tasks.check_task_names()
    assert message.id == "taskq.E008"
    assert "'mail'" in message.msg
    assert "shop.tasks.mail, blog.tasks.mail" in message.msg
    monkeypatch.setattr(registry, "duplicates", dict)
    assert tasks.check_task_names() == []


FACTORY = """
from taskq import task

def make(n):
    @task
    def each(x):
        return x * n
    return each

double, triple = make(2), make(3)
"""
COPIED = """
from taskq import task

@task
def each(x): return x * 2

@task
def each(x): return x * 3
"""
NAMED = """
from taskq import Task, register, task

@task(name="copies.each")
def double(x): return x * 2

@register
class Triple(Task):
    name = "copies.each"
    def run(self, x): return x * 3
"""
SINGLE = """
from taskq import Task, register, task

@task
def each(x): return x * 2

@register
class Other(Task):
    def run(self, x): return x * 3

other = register(type(Other))
"""


@pytest.fixture
def copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """Import a text as the module ``copies``, whose tasks are forgotten after the test."""
    from taskq.calls import registry

    monkeypatch.syspath_prepend(tmp_path)
    before = set(registry.tasks)

    def imported(source: str) -> ModuleType:
        (tmp_path / "copies.py").write_text(source)
        return importlib.import_module("copies")

    yield imported
    sys.modules.pop("copies", None)
    for name in set(registry.tasks) - before:
        registry.tasks.remove(name)


def about_copies() -> list[str]:
    return [message.msg for message in tasks.check_task_names() if "copies." in message.msg]


@pytest.mark.parametrize("source", [FACTORY, COPIED, NAMED], ids=["factory", "copied", "named"])
def test_E008_two_tasks_of_one_module(copies: Callable[[str], ModuleType], source: str) -> None:
    module = copies(source)
    (said,) = about_copies()
    assert "is given twice or more" in said
    importlib.reload(module)  # neither hides it nor makes more of it
    assert about_copies() == [said]


def test_E008_quiet_for_a_module_that_is_executed_again(copies: Callable[[str], ModuleType]) -> None:
    from taskq.calls import registry

    module = importlib.reload(copies(SINGLE))
    assert about_copies() == []
    sys.modules.pop("copies")
    again = importlib.import_module("copies")
    assert about_copies() == []
    assert registry.tasks["copies.each"] is again.each is not module.each
