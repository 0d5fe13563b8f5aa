"""The rules of ``docs/how-to/change-the-code.md`` on imports and on who does what, kept by reading the source.

Imports go one way, there is no circle between rooms, the pure rooms and the worker's loop
reach no database; only ``store`` and ``engines`` change rows, only ``engines`` holds SQL,
only ``sending.publisher`` publishes tasks, and the admin goes through the public API. The
rooms, their order and the doors stand in ``tests.rooms``, which also draws the map.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator

import pytest

from tests import rooms
from tests.support.imports import ROOT, Kind, Tree, circles

TREE = Tree()
#: Imports by a string that only the running program knows, and why they lead nowhere that matters.
UNREADABLE = {
    "taskq/management/commands/taskevents.py": "the camera that --camera names is the project's",
    "taskq/__init__.py": "the table beside it has the modules as strings, which are read",
    "taskq_admin/late.py": "the modules of the packages of pages that name it, which import each other at the top too",
    "taskq/dotted.py": "the classes that settings name are the project's",
    "taskq/messages/routing/routers.py": "the routers that the setting TASKQ_ROUTES names are the project's",
}
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
    "taskq.control",
    "taskq.exceptions",
    "taskq.models",
    # What waits, by statements of the engines. Reads only.
    "taskq.store.backlog",
    # Counts and the place of a time, by statements of the engines. Reads only.
    "taskq.store.reading",
    # What an exception is called. Pure functions.
    "taskq.messages.fingerprints",
    "taskq.signals",
    "taskq.states",
    "taskq.calls.registry",
    # Arguments of a row, read and verified as a retry does; which tasks are never retried; a value as a message has it.
    "taskq.calls.again.stored_arguments",
    "taskq.calls.never_again",
    "taskq.messages.serializers.dumps_json",
    # Names of queues.
    "taskq.messages.parking",
    # For commands: what a terminal would obey as escapes, and types of arguments. Pure functions.
    "taskq.log_escapes",
    "taskq.management.arguments",
    # The header of messages that came back because no worker knew their tasks.
    "taskq.messages.protocol.wire",
    "taskq.timezones",
    # The buckets of kept times, their percentiles, and the columns that count them. Pure functions and names.
    "taskq.histograms",
    "taskq.models.statistic",
}


def modules(package: str, *, but: tuple[str, ...] = ()) -> list[str]:
    return [m for m in TREE.modules if f"{m}.".startswith(f"{package}.") and rooms.room_of(m) not in but]


def calls(module: str) -> Iterator[tuple[str, str, str]]:
    """Yield the name, the text before its dot, and the place of every method call."""
    for node in ast.walk(ast.parse(TREE.text(module))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield node.func.attr, ast.unparse(node.func.value), f"{TREE.path(module)}:{node.lineno}"


def lines(found: Iterable[object], then: str = "") -> str:
    """Return the message of a failed assertion."""
    return "\n  ".join(["", *map(str, found)]) + f"\n{then}"


def order() -> str:
    return "The rooms, from the bottom to the top:\n  " + "\n  ".join(", ".join(floor) for floor in rooms.ROOMS)


# -- one way


@pytest.mark.parametrize("module", modules("taskq"), ids=TREE.path)
def test_imports_go_one_way(module: str) -> None:
    upward = rooms.upward(TREE, module)
    assert not upward, lines(upward, order())


@pytest.mark.parametrize(
    ("name_of", "what"),
    [
        (lambda module: rooms.room_of(module), "rooms"),
        (lambda module: rooms.part_of(module) if rooms.room_of(module) == "worker" else "", "parts of the worker"),
        (lambda module: module if rooms.room_of(module) == "ground" else "", "modules of the ground"),
    ],
    ids=["rooms", "worker", "ground"],
)
def test_rooms_have_no_circle(name_of: rooms.NameOf, what: str) -> None:
    found = circles(rooms.arrows(TREE, name_of))
    # Shown by ``pytest -rP``.
    print(f"{order()}\nCircles between {what}: {len(found)}")
    assert not found, lines([" <-> ".join(circle) for circle in found], f"These {what} import each other. {order()}")


def test_modules_of_the_admin_have_no_circle() -> None:
    # Threads load them when they show their first pages: in a circle they could wait for each other.
    found = circles(
        {m: {s.module for s in TREE.imports(m) if s.kind is Kind.TOP} - {m} for m in modules("taskq_admin")}
    )
    assert not found, lines([" <-> ".join(circle) for circle in found], "These modules import each other.")


def test_every_module_has_its_place() -> None:
    known = {"", *rooms.RANKS, *rooms.BESIDE}
    nowhere = [TREE.path(m) for m in TREE.modules if rooms.room_of(m) not in known]
    nowhere += [TREE.path(m) for m in modules("taskq.worker") if rooms.part_of(m) not in {"", *rooms.WORKER_RANKS}]
    assert not nowhere, lines(nowhere, "Say in tests/rooms.py in which room they are.")


@pytest.mark.parametrize("module", [m for package in rooms.PURE for m in modules(f"taskq.{package}")], ids=TREE.path)
def test_pure_rooms_reach_no_database(module: str) -> None:
    _check_pure(module)


@pytest.mark.parametrize("module", modules("taskq.worker.loop"), ids=TREE.path)
def test_the_loop_reaches_no_database(module: str) -> None:
    _check_pure(module)


def _check_pure(module: str) -> None:
    way = rooms.way_to_database(TREE, module)
    assert not way, lines(way, "A way to the database.")


def test_doors_and_windows_are_used() -> None:
    steps = [(module, step) for module in TREE.modules for step in TREE.imports(module)]
    unused = rooms.DOORS.keys() - {(rooms.room_of(module), rooms.room_of(step.module)) for module, step in steps}
    shut = [w for w in rooms.WINDOWS if not any(module == w[0] and step.is_of(w[1]) for module, step in steps)]
    assert not unused, lines(unused, "Nobody needs these doors any more: take them out of tests/rooms.py.")
    assert not shut, lines(shut, "Nobody needs these windows any more: take them out of tests/rooms.py.")


def test_imports_by_string_can_be_read() -> None:
    found = {step.path: step for m in TREE.modules for step in TREE.imports(m) if step.kind is Kind.UNREADABLE}
    assert found.keys() == UNREADABLE.keys(), lines(found.values(), "Write the module as one string.")


def test_the_map_is_up_to_date() -> None:
    assert rooms.is_up_to_date(), "The map in docs/how-to/change-the-code.md is old: python -m tests.rooms --write"


def test_the_page_names_files_that_are_there() -> None:
    named = set(re.findall(r"`([\w/.]+(?:\.py|\.md|/))`", rooms.PAGE.read_text()))
    tops = ("taskq", "taskq_admin", "tests", "docs")
    there = [f"/{path.relative_to(ROOT)}" for top in tops for path in (ROOT / top, *(ROOT / top).rglob("*"))]
    gone = {path for path in named if not any(each.endswith(f"/{path.rstrip('/')}") for each in there)}
    assert not gone, lines(sorted(gone), f"{rooms.PAGE.name} names them.")


# -- how imports are read


@pytest.mark.parametrize(
    "line",
    [
        "import taskq.worker.node",
        "from taskq.worker.node import Node",
        "from ..worker import node",
        "def late():\n    from taskq.worker import node",
        "if TYPE_CHECKING:\n    from taskq.worker.node import Node",
        'import_module("taskq.worker.node")',
        'import_module("..worker.node", __package__)',
        'import_string("taskq.worker.node.WorkerNode")',
        'sys.modules["taskq.worker.node"]',
        'TABLE = {"node": ("taskq.worker.node.WorkerNode", 1)}',
        'x: "taskq.worker.node.WorkerNode"',
        "from taskq import group",
        "import taskq\ntaskq.group",
        'import_string("taskq.group")',
        "from taskq.testing import drain",
        "import taskq_admin",
    ],
)
def test_store_may_not_reach_up_in_any_way(line: str) -> None:
    module = "taskq.store.claim"
    assert not rooms.upward(TREE, module)
    assert rooms.upward(TREE.with_source(module, f"{TREE.text(module)}\n{line}\n"), module)


@pytest.mark.parametrize(
    "line",
    [
        'logger = logging.getLogger("taskq.worker")',
        'connect(clear, dispatch_uid="taskq.worker.node")',
        '"""See ``taskq.worker.node``."""',
        'NAME = "taskq.task"',
        "from taskq import __version__, states",
        "from taskq.models import TaskRun",
    ],
)
def test_labels_and_lower_rooms_are_no_imports_that_go_up(line: str) -> None:
    assert not rooms.upward(TREE.with_source("taskq.store.claim", line), "taskq.store.claim")


def test_eager_is_reached_through_its_doors_only_in_functions() -> None:
    module = "taskq.canvas.signature"
    at_the_top, in_a_function = TREE.read(
        module, "from taskq.eager import canvas\ndef apply():\n    from taskq.eager import canvas"
    )
    assert rooms.is_upward(at_the_top, module)
    assert not rooms.is_upward(in_a_function, module)


@pytest.mark.parametrize("package", ["__name__", "__package__"])
def test_a_package_may_load_its_modules_by_name(package: str) -> None:
    tree = TREE.with_source("taskq.engines", f'import_module(f"{{{package}}}.{{vendor}}")')
    named = {step.module for step in tree.imports("taskq.engines") if step.kind is Kind.STRING}
    assert {"taskq.engines.postgresql", "taskq.engines.sqlite", "taskq.engines.mariadb"} <= named


def test_a_circle_is_found() -> None:
    tree = TREE.with_source("taskq.engines.base", 'import_module("taskq.store.claim")')
    (found,) = circles(rooms.arrows(tree, rooms.room_of))
    assert {"engines", "store"} <= set(found)


@pytest.mark.parametrize(
    ("line", "last"),
    [
        ("from django.db import connections", "django.db.connections"),
        ("from django import db", "django.db"),
        ("def late():\n    from taskq.worker.duties.lease import WorkerLease", "taskq.engines.for_alias"),
        ("from taskq import AsyncResult", "taskq.models.TaskRun"),
    ],
)
def test_a_way_to_the_database_is_found(line: str, last: str) -> None:
    module = "taskq.worker.loop.prefetch"
    way = rooms.way_to_database(TREE.with_source(module, line), module)
    assert way[0].module != way[-1].module or len(way) == 1
    assert way[-1].name == last


def test_a_package_leads_to_its_modules_only_when_it_is_asked_for_them() -> None:
    module = "taskq.worker.loop.prefetch"
    tree = TREE.with_source("taskq.worker.pools", 'def load(name):\n    import_module(f"{__name__}.{name}")')
    one = tree.with_source(module, "from taskq.worker.pools.frames import encode")
    all_of_them = tree.with_source(module, "from taskq.worker.pools import load")
    assert not rooms.way_to_database(one, module)
    assert rooms.way_to_database(all_of_them, module)


# -- who does what


def _writes(name: str, owner: str) -> bool:
    on_rows = ".objects" in owner or "_manager" in owner or (owner.endswith(")") and ".using(" in owner)
    return (
        name in WRITES or (name in {"create", "update", "delete"} and on_rows) or (name == "save" and owner != "self")
    )


#: Modules that change rows of others than taskq.
OF_OTHERS = {
    "taskq_admin.management.commands.taskgroups": "makes groups of django.contrib.auth",
    "taskq_admin.actions.log": "writes the log of django.contrib.admin",
}


def test_only_store_and_engines_change_rows() -> None:
    found = [
        f"{place} calls {owner}.{name}()"
        for module in [*modules("taskq", but=("store", "engines", "models")), *modules("taskq_admin")]
        if module not in OF_OTHERS
        for name, owner, place in calls(module)
        if _writes(name, owner)
    ]
    assert not found, lines(found)


def test_only_engines_hold_sql() -> None:
    found = [
        f"{place} calls {owner}.{name}()"
        for module in [*modules("taskq", but=("engines",)), *modules("taskq_admin")]
        for name, owner, place in calls(module)
        if name in {"cursor", "raw", "RawSQL", "executemany"} and "msg" not in owner
    ]
    assert not found, lines(found)


def test_only_the_publisher_publishes_tasks() -> None:
    outside = [m for m in modules("taskq", but=("store", "transport")) if m != "taskq.sending.publisher"]
    found = [
        step
        for module in [*outside, *modules("taskq_admin")]
        for step in TREE.imports(module)
        # Those two only say what an envelope's row is; testing shows it without a database.
        if step.module == "taskq.store.enqueue" and not step.name.endswith((".message_row", ".run_row"))
    ]
    assert not found, lines(found)


def test_the_admin_uses_the_public_api() -> None:
    found = [
        step
        for module in modules("taskq_admin")
        for step in TREE.imports(module)
        if step.is_of("taskq") and step.name not in PUBLIC and step.name.rpartition(".")[0] not in PUBLIC
    ]
    assert not found, lines(found)
