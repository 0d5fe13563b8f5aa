"""The house rules of ``docs/how-to/change-the-code.md``, kept by reading the source.

Imports go one way, only ``store`` and ``engines`` change rows, only ``engines``
holds SQL, only ``sending.publisher`` publishes tasks, and the admin goes
through the public API.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent

#: The rooms from the bottom to the top; those in one line are on one floor. ``testing`` and
#: ``contrib`` stand beside the house, and modules at its bottom (conf, signals, logs, ...) have no rank.
ROOMS = (
    {"states", "exceptions", "ids", "records", "handover", "value_kinds"},
    {"messages"},
    {"calls"},
    {"workflows"},
    {"models"},
    {"engines"},
    {"store"},
    {"transport"},
    {"results"},
    {"sending"},
    {"canvas"},
    {"tasks"},
    {"execution"},
    {"eager"},
    {"worker"},
    {"control", "events"},
    {"schedule"},
    {"management"},
)
#: The only imports that go up: ``apply`` and ``TASKQ_ALWAYS_EAGER`` run a call here.
DOORS = {("canvas", "eager"), ("tasks", "eager"), ("sending", "eager")}
RANKS = {room: rank for rank, rooms in enumerate(ROOMS) for room in rooms}
#: Methods of managers and querysets that write. ``update`` and ``delete`` only count on a queryset, see ``_writes``.
WRITES = {
    "bulk_create",
    "bulk_update",
    "get_or_create",
    "update_or_create",
    "acreate",
    "aupdate",
    "adelete",
    "abulk_create",
}
#: What ``taskq_admin`` may import of taskq: what users may, the rows, to read them, and the registry, to list it.
PUBLIC = {
    "taskq",
    "taskq.conf",
    "taskq.exceptions",
    "taskq.models",
    "taskq.signals",
    "taskq.states",
    "taskq.calls.registry",
    "taskq.timezones",
}


def sources(package: str) -> list[Path]:
    return sorted(path for path in (ROOT / package).rglob("*.py") if "migrations" not in path.parts)


def room_of(path: Path) -> str:
    return path.relative_to(ROOT / "taskq").with_suffix("").parts[0]


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Yield the modules that a file imports when it is imported itself, and the lines."""
    package = path.relative_to(ROOT).parts[:-1]
    for node in _at_import(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = (
                ".".join((*package[: len(package) - node.level + 1], *filter(None, [node.module])))
                if node.level
                else node.module
            )
            yield from ((f"{base}.{alias.name}", node.lineno) for alias in node.names)


def _at_import(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        typing_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        if not typing_only:
            yield node
            yield from _at_import(node)


def calls(path: Path) -> Iterator[tuple[str, str, int]]:
    """Yield the name, the text before its dot, and the line of every method call."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield node.func.attr, ast.unparse(node.func.value), node.lineno


def place(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


@pytest.mark.parametrize("path", sources("taskq"), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    room = room_of(path)
    if room not in RANKS:
        return
    upward = [
        f"{place(path, line)} imports {module}"
        for module, line in imports(path)
        if module.startswith("taskq.") and _is_above(module.split(".")[1], room)
        if (room, module.split(".")[1]) not in DOORS
    ]
    assert not upward


def _is_above(other: str, room: str) -> bool:
    return other != room and RANKS.get(other, -1) > RANKS[room]


def _writes(name: str, owner: str) -> bool:
    on_rows = ".objects" in owner or "_manager" in owner or (owner.endswith(")") and ".using(" in owner)
    return (
        name in WRITES or (name in {"create", "update", "delete"} and on_rows) or (name == "save" and owner != "self")
    )


def test_only_store_and_engines_change_rows() -> None:
    outside = [path for path in sources("taskq") if room_of(path) not in {"store", "engines", "models"}]
    found = [
        f"{place(path, line)} calls {owner}.{name}()"
        for path in outside + sources("taskq_admin")
        for name, owner, line in calls(path)
        if _writes(name, owner)
    ]
    assert not found


def test_only_engines_hold_sql() -> None:
    outside = [path for path in sources("taskq") if room_of(path) != "engines"]
    found = [
        f"{place(path, line)} calls {owner}.{name}()"
        for path in outside + sources("taskq_admin")
        for name, owner, line in calls(path)
        if name in {"cursor", "raw", "RawSQL", "executemany"} and "msg" not in owner
    ]
    assert not found


def test_only_the_publisher_publishes_tasks() -> None:
    publisher = ROOT / "taskq/sending/publisher.py"
    outside = [path for path in sources("taskq") if path != publisher and room_of(path) not in {"store", "transport"}]
    found = [
        f"{place(path, line)} imports {module}"
        for path in outside + sources("taskq_admin")
        for module, line in imports(path)
        # Those two only say what an envelope's row is; testing shows it without a database.
        if module.startswith("taskq.store.enqueue") and not module.endswith((".message_row", ".run_row"))
    ]
    assert not found


def test_the_admin_uses_the_public_api() -> None:
    found = [
        f"{place(path, line)} imports {module}"
        for path in sources("taskq_admin")
        for module, line in imports(path)
        if module.split(".")[0] == "taskq" and module not in PUBLIC and module.rpartition(".")[0] not in PUBLIC
    ]
    assert not found
