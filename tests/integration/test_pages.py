"""Each page of the documentation, run from its first example to its last with a worker on SQLite.

A page is a module ``shop.tasks`` that grows block by block; ``>>>`` examples have to print what the page shows.
A block that begins with ``# settings.py`` sets Django's settings for the rest of the page, and one that begins with
the name of another file is that module. Python in a comment ``<!-- unseen`` runs too, and is not shown; it may call
``while_page(context_manager)`` for the rest of the page. The models of taskq are read from this test's database.
"""

from __future__ import annotations

import doctest
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.db import router
from django.test import override_settings

from taskq.calls.registry import tasks
from taskq.testing import running_worker
from tests.support.pages import Block, blocks
from tests.support.processes import ROOT

#: Other tests follow these from an empty folder.
ELSEWHERE = {"docs/tutorial.md"}
PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    if {"python", "pycon"} & {block.language for block in blocks(path)}
)
_FILE = re.compile(r"# (\S+)\.py(?:, at the end)?\n")

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


class Page:
    """Runs the examples of a page."""

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self.path = path
        self.stack = stack
        self.module = _module("shop.tasks")
        vars(self.module).update(while_page=stack.enter_context)

    def run(self) -> None:
        """Run all examples of the page, and report all outputs that differ."""
        for block in blocks(self.path):
            if block.language in {"python", "unseen"}:
                self.execute(block)
            elif block.language == "pycon":
                self.compare(block)

    def execute(self, block: Block) -> None:
        """Execute a block of Python."""
        code = compile("\n" * (block.line - 1) + block.text, str(self.path), "exec", dont_inherit=True)
        named = _FILE.match(block.text)
        name = named[1].replace("/", ".") if named else "shop.tasks"
        if name.endswith("settings"):
            values: dict[str, Any] = {"BASE_DIR": Path("/srv/shop"), "INSTALLED_APPS": [], "DATABASES": {"default": {}}}
            exec(code, values)
            self.stack.enter_context(
                override_settings(**{key: value for key, value in values.items() if key.startswith("TASKQ_")})
            )
            vars(self.module)["LOGGING"] = values.get("LOGGING")
            return
        module = _module(name)
        exec(code, vars(module))
        # What a page has defined in one file is used in the next without a word.
        vars(self.module).update({key: value for key, value in vars(module).items() if not key.startswith("__")})

    def compare(self, block: Block) -> None:
        """Type a block at a prompt, and compare what is printed."""
        examples = doctest.DocTestParser().get_examples(block.text)
        test = doctest.DocTest(examples, vars(self.module), self.path.name, str(self.path), block.line - 1, None)
        test.globs = vars(self.module)
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE, verbose=False)
        said: list[str] = []
        runner.run(test, out=said.append, clear_globs=False)
        assert runner.summarize(verbose=False).failed == 0, "".join(said)


class ToOneDatabase:
    """A database router: the queries of a page read the test's database, as they read a project's only one."""

    def __init__(self, alias: str) -> None:
        self.alias = alias

    def db_for_read(self, model: type, **hints: Any) -> str:
        return self.alias

    db_for_write = db_for_read


def _module(name: str) -> ModuleType:
    """Return the module, made empty if it is not there, with its packages."""
    package = name.rpartition(".")[0]
    if package:
        _module(package)
    if name not in sys.modules:
        sys.modules[name] = ModuleType(name)
    return sys.modules[name]


@pytest.fixture
def clean_modules() -> Iterator[None]:
    """Take away the modules and the tasks that the page makes."""
    modules, names = set(sys.modules), set(tasks)
    yield
    for name in set(sys.modules) - modules:
        if getattr(sys.modules[name], "__spec__", None) is None:
            del sys.modules[name]
    for name in set(tasks) - names:
        tasks.remove(name)


@pytest.mark.usefixtures("clean_modules")
@pytest.mark.parametrize("name", [name for name in PAGES if name not in ELSEWHERE])
def test_examples_of_a_page_run_as_printed(name: str, alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vars(router), "routers", [ToOneDatabase(alias)])
    with ExitStack() as stack:
        stack.enter_context(running_worker())
        Page(ROOT / name, stack).run()
