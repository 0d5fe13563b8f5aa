"""The rooms of taskq, in their order, and the doors between them; and the map that is drawn of them.

``python -m tests.rooms`` prints the map, with ``--write`` it puts the map and the doors into
``docs/how-to/change-the-code.md``, with ``--check`` it fails if those there are old ones.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable

from tests.support.imports import ROOT, Arrows, Import, Kind, Tree, without_detours

#: From the bottom to the top: each room imports itself and those before it. Rooms in one line don't import each other.
ROOMS = (
    ("ground",),
    ("messages",),
    ("calls",),
    ("workflows",),
    ("models",),
    ("engines",),
    ("store",),
    ("transport",),
    ("results",),
    ("sending",),
    ("canvas",),
    ("tasks",),
    ("execution",),
    ("eager",),
    ("worker",),
    ("control",),
    ("events",),
    ("metrics",),
    ("schedule",),
    ("management",),
)
#: The modules of the ground, which lie in taskq itself.
GROUND = (
    "setting",
    "conf",
    "environment",
    "documentation",
    "states",
    "exceptions",
    "ids",
    "signals",
    "clock",
    "timezones",
    "processes",
    "forks",
    "containment",
    "records",
    "handover",
    "log_escapes",
    "hooks",
    "files",
    "logs",
    "rates",
    "histograms",
    "value_kinds",
    "broker_urls",
    "dotted",
)
#: The order inside the worker.
WORKER = (
    ("log_lines",),
    ("process",),
    ("call_queue",),
    ("remote",),
    ("pools",),
    ("loop", "duties"),
    ("failure_handlers",),
    ("activity", "options", "started"),
    ("changes",),
    ("node",),
    ("main", "health"),
)
#: No room: these import what they like, and nothing in a room imports them.
BESIDE = ("apps", "checks", "contrib", "testing", "taskq_admin")
#: The imports that go up, all of them inside functions, and why.
DOORS = {
    ("canvas", "eager"): "`Signature.apply`, and a canvas while `TASKQ_ALWAYS_EAGER` is on, run in the calling process",
    ("tasks", "eager"): "`Task.apply` runs in the calling process",
    ("sending", "eager"): "while `TASKQ_ALWAYS_EAGER` is on, a task is run instead of sent",
}
#: Above this line of rooms is no database: neither these rooms nor the worker's loop reach one.
PURE = ("messages", "calls", "workflows")
DATABASE = ("django.db", "taskq.models", "taskq.engines", "taskq.store")
#: Imports of a pure room that only name a thing of the database, by module.
WINDOWS = {
    ("taskq.messages.serializers", "django.db.models"): "tells a model instance by its type: pass its primary key",
}

PAGE = ROOT / "docs/how-to/change-the-code.md"
NameOf = Callable[[str], str]


RANKS = {room: rank for rank, rooms in enumerate(ROOMS) for room in rooms}
WORKER_RANKS = {part: rank for rank, parts in enumerate(WORKER) for part in parts}


def room_of(module: str) -> str:
    """Return the room of a module; of taskq's own ``__init__`` ``""``."""
    package, _, rest = module.partition(".")
    if package != "taskq":
        return package
    part = rest.partition(".")[0]
    return "ground" if part in GROUND else part


def is_upward(step: Import, module: str) -> bool:
    """Tell whether an import of ``module`` goes up, or to a neighbour, and through no door."""
    room, other = room_of(module), room_of(step.module)
    if room == other == "worker":
        return _is_above(part_of(step.module), part_of(module), WORKER_RANKS)
    is_ours = step.module.startswith("taskq.") or other == "taskq_admin"
    return is_ours and room in RANKS and not _is_door(step, module) and _is_above(other, room, RANKS)


def _is_door(step: Import, module: str) -> bool:
    return (room_of(module), room_of(step.module)) in DOORS and step.kind is Kind.FUNCTION


def _is_above(other: str, room: str, ranks: dict[str, int]) -> bool:
    return other != room and ranks.get(other, len(ranks)) >= ranks.get(room, len(ranks))


def part_of(module: str) -> str:
    """Return the part of the worker that a module is in; of its own ``__init__`` ``""``."""
    return f"{module}..".split(".")[2]


def upward(tree: Tree, module: str) -> list[Import]:
    """Return the imports of a module that go up."""
    return [step for step in tree.imports(module) if is_upward(step, module)]


def way_to_database(tree: Tree, module: str) -> list[Import]:
    """Return the shortest way on which a module reaches a database, not through a window; empty if there is none."""
    windows = {(tree.path(room_module), target) for room_module, target in WINDOWS}
    return tree.way(
        module,
        lambda step: (
            step.is_of(*DATABASE) and not any(step.path == path and step.is_of(target) for path, target in windows)
        ),
    )


def arrows(tree: Tree, name_of: NameOf) -> Arrows:
    """Return which rooms import which, through no door. ``name_of`` a module is its room, or "" for none."""
    found: Arrows = {}
    for module in filter(name_of, tree.modules):
        ends = found.setdefault(name_of(module), set())
        for step in tree.imports(module):
            if step.module in tree.modules and not _is_door(step, module):
                ends.add(name_of(step.module))
    return {name: ends - {"", name} for name, ends in found.items()}


# -- the map


def drawing(tree: Tree) -> str:
    """Return the map: a line for each room, from the bottom to the top, with the rooms that it imports."""
    ends = without_detours(arrows(tree, room_of))
    rooms = [room for room in (*RANKS, *BESIDE) if room in ends]
    lines = [(room, ", ".join(sorted(ends[room], key=rooms.index)), _purpose(tree, room)) for room in rooms]
    wide, wider = (max(len(line[column]) for line in lines) for column in (0, 1))
    drawn = [f"{room:{wide}} {'->' if to else '  '} {to:{wider}}  {words}".rstrip() for room, to, words in lines]
    drawn.insert(sum(room in RANKS for room in rooms), "beside the house:")
    return "\n".join(drawn) + "\n"


def _purpose(tree: Tree, room: str) -> str:
    """Return what a room is for: the first line of its package's docstring."""
    if room == "ground":
        return "Names and plain objects that all may use, a module each."
    module = room if room in tree.modules else f"taskq.{room}"
    return (ast.get_docstring(ast.parse(tree.text(module))) or "").partition("\n")[0].replace("``", "`")


def doors() -> str:
    """Return the table of the doors."""
    rows = (f"| `{room}` | `{other}` | {reason} |" for (room, other), reason in DOORS.items())
    return "\n".join(["| from | to | why |", "| --- | --- | --- |", *rows]) + "\n"


def _renewed(page: str) -> str:
    """Return the page with the map and the table of doors between their markers as they are now."""
    for name, block in (("map", f"```text\n{drawing(Tree())}```\n"), ("doors", doors())):
        begin, end = f"<!-- {name}: python -m tests.rooms --write -->\n", f"<!-- end of {name} -->"
        before, rest = page.split(begin)
        page = f"{before}{begin}\n{block}\n{end}{rest.split(end)[1]}"
    return page


def is_up_to_date() -> bool:
    """Tell whether the page has the map and the doors as they are now."""
    page = PAGE.read_text()
    return page == _renewed(page)


def main(arguments: list[str]) -> int:
    """See the module."""
    if "--write" in arguments:
        PAGE.write_text(_renewed(PAGE.read_text()))
    elif "--check" in arguments:
        if not is_up_to_date():
            print(f"The map in {PAGE.relative_to(ROOT)} is old: python -m tests.rooms --write", file=sys.stderr)
            return 1
    else:
        print(drawing(Tree()), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
