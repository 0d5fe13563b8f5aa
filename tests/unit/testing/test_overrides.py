from __future__ import annotations

import os
import subprocess
import sys
import unittest
from typing import Any

import pytest
from django.test import SimpleTestCase

from taskq.results import backend
from taskq.results.eager import EagerResult
from taskq.sending import publisher
from taskq.testing import Memory, assert_not_sent, assert_sent, override

from . import tasks


def test_override_restores_sink_and_backend() -> None:
    sink, before = publisher._sink, backend.current()
    with override("memory"):
        assert backend.current() is not before
    with pytest.raises(KeyError), override("inline"):
        os.environ["NO_SUCH_KEY"]
    assert publisher._sink is sink
    assert backend.current() is before
    with pytest.raises(RuntimeError, match=r"taskq\.testing\.override"):
        assert_not_sent()


def test_unknown_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="'memory', 'inline' or 'eager'"):
        override("nonsense")  # type: ignore[arg-type]


def test_override_decorates_a_function() -> None:
    @override("memory", kwarg_name="memory")
    def send(memory: Memory) -> int:
        tasks.add.delay(1, 1)
        return len(memory.sent)

    assert send() == 1  # type: ignore[call-arg]


def test_override_decorates_a_coroutine_function() -> None:
    import asyncio

    @override("memory", kwarg_name="memory")
    async def send(memory: Memory) -> int:
        await tasks.add.adelay(1, 1)
        return len(memory.sent)

    assert asyncio.run(send()) == 1  # type: ignore[call-arg]


@override("memory", attr_name="memory")
class AsADecoratorOfAClass(SimpleTestCase):
    memory: Memory

    def test_memory_holds_the_message_of_this_test_only(self) -> None:
        tasks.add.delay(1, 1)
        assert len(self.memory.sent) == 1

    def test_memory_holds_no_message_of_another_test(self) -> None:
        tasks.add.delay(1, 1)
        assert len(self.memory.sent) == 1


@override("memory")
class WithoutDjango(unittest.TestCase):
    def test_override_decorates_a_unittest_class(self) -> None:
        tasks.add.delay(1, 1)
        assert_sent(tasks.add, count=1)


def test_eager_mode_runs_tasks_here(taskq_eager: None) -> None:
    result = tasks.add.delay(1, 1)
    assert isinstance(result, EagerResult)
    assert result.get() == 2
    assert tasks.fail.delay().failed()


def test_eager_mode_with_propagate_raises_the_failure() -> None:
    with override("eager", propagate=True), pytest.raises(ValueError, match="boom"):
        tasks.fail.delay()


def test_memory_wins_over_a_projects_eager_setting(settings: Any) -> None:
    settings.TASKQ_ALWAYS_EAGER = True
    with override("memory") as memory:
        tasks.add.delay(1, 1)
        assert len(memory.sent) == 1


def test_inline_fixture_runs_tasks_at_once(taskq_inline: Memory) -> None:
    assert tasks.add.delay(1, 1).get() == 2


def test_the_plugin_needs_neither_settings_nor_django() -> None:
    code = (
        "import sys, taskq.testing.pytest_plugin; "
        "loaded = [n for n in sys.modules if n.split('.')[0] in ('django', 'kombu')]; assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})
