"""Reads the imports of a package: at the top of a file, in functions, for typing only, and by string.

``test_imports`` and the map of the rooms (``tests.rooms``) are made of it. Files are
parsed, never imported.
"""

from __future__ import annotations

import ast
import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent

_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
_IN_PACKAGE = re.compile(r"f'\{(__name__|__package__)\}\.")
_LOADERS = {"import_module", "import_string", "__import__"}
#: Strings in these calls and keywords are labels, even where they look like modules.
_LABELLING_CALLS = {"getLogger", "get_logger", "ContextVar"}
_LABELLING_KEYWORDS = {"dispatch_uid"}


class Kind(StrEnum):
    """When an import happens. ``UNREADABLE`` is an ``import_module`` of something that only the program knows."""

    TOP = "at the top"
    FUNCTION = "in a function"
    TYPING = "for typing"
    STRING = "by string"
    UNREADABLE = "by a string that can't be read"


@dataclass(frozen=True, slots=True)
class Import:
    """One import in ``path``: ``name`` as dotted path, and the ``module`` that holds this name."""

    path: str
    line: int
    name: str
    module: str
    kind: Kind

    def __str__(self) -> str:
        return f"{self.path}:{self.line} imports {self.name} {self.kind}"

    def is_of(self, *packages: str) -> bool:
        """Tell whether the import is of one of these packages or of something in them."""
        names = (f"{self.name}.", f"{self.module}.")
        return any(name.startswith(f"{package}.") for package in packages for name in names)


@dataclass
class Tree:
    """The modules of ``packages`` below ``root``, without migrations."""

    root: Path = ROOT
    packages: tuple[str, ...] = ("taskq", "taskq_admin")
    _cache: dict[str, list[Import]] = field(default_factory=dict)

    @cached_property
    def modules(self) -> dict[str, Path]:
        """The files by the dotted names of their modules."""
        paths = sorted(path for package in self.packages for path in (self.root / package).rglob("*.py"))
        return {self._module_of(path): path for path in paths if "migrations" not in path.parts}

    def path(self, module: str) -> str:
        """Return the path of a module's file, seen from the root."""
        return str(self.modules[module].relative_to(self.root))

    def text(self, module: str) -> str:
        """Return a module's source."""
        return self.modules[module].read_text()

    def imports(self, module: str) -> list[Import]:
        """Return the imports of a module."""
        if module not in self._cache:
            self._cache[module] = self.read(module, self.text(module))
        return self._cache[module]

    def read(self, module: str, text: str) -> list[Import]:
        """Return the imports that ``text`` would have as the source of ``module``."""
        found = _read(_File(self, module), ast.parse(text), Kind.TOP)
        path = self.path(module)
        return [Import(path, line, name, self.holder(name), kind) for name, line, kind in found]

    def with_source(self, module: str, text: str) -> Tree:
        """Return this tree as it would be with ``text`` as the source of ``module``."""
        return Tree(self.root, self.packages, {**self._cache, module: self.read(module, text)})

    def way(self, start: str, is_goal: Callable[[Import], bool]) -> list[Import]:
        """Return the shortest row of imports from ``start`` to a goal; empty if there is none.

        Of the packages on the way only the imports at the top count: no more happens when a module in them is imported.
        """
        rows: deque[list[Import]] = deque([[step] for step in self._steps(start)])
        seen = {start}
        while rows:
            row = rows.popleft()
            if is_goal(row[-1]):
                return row
            if row[-1].module not in seen:
                seen.add(row[-1].module)
                rows.extend([*row, step] for step in self._steps(row[-1].module))
        return []

    def _steps(self, module: str) -> list[Import]:
        # The names in the table of taskq/__init__.py were looked up; its file itself leads nowhere.
        files = [m for m in (module, *parents(module)) if m in self.modules and m not in self.packages]
        return [step for m in files for step in self.imports(m) if m == module or step.kind is Kind.TOP]

    def holder(self, name: str) -> str:
        """Return the module that holds ``name``; a public name of taskq is held by the module that its table says."""
        package, _, rest = name.partition(".")
        if name not in self.modules and package == "taskq" and rest in self.public:
            return self.public[rest]
        return next((module for module in (name, *parents(name)) if module in self.modules), name)

    @cached_property
    def public(self) -> dict[str, str]:
        """The table of ``taskq/__init__.py``: the modules of public names, which are loaded when first used."""
        for node in ast.parse(self.text("taskq")).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_WHERE":
                table: dict[str, str] = ast.literal_eval(node.value)
                return table
        return {}

    def is_module_or_name(self, text: str) -> bool:
        """Tell whether a string is the dotted path of a module here or of something that a module here defines."""
        if not _DOTTED.fullmatch(text) or text.partition(".")[0] not in self.packages:
            return False
        module, _, name = text.rpartition(".")
        defined = module in self.modules and module not in self.packages and name in _defined(self.text(module))
        return text in self.modules or defined

    def _module_of(self, path: Path) -> str:
        parts = path.relative_to(self.root).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@dataclass(frozen=True)
class _File:
    tree: Tree
    module: str

    def absolute(self, name: str) -> str:
        """Return a name that may begin with dots, as it is called from this file, in full."""
        level = len(name) - len(name.lstrip("."))
        if not level:
            return name
        parts = self.module.split(".")
        kept = len(parts) - level + (self.tree.modules[self.module].name == "__init__.py")  # which is its own package
        return ".".join([*parts[:kept], *filter(None, [name.lstrip(".")])])

    def children(self, package: str) -> list[str]:
        """Return the modules directly in this file's ``__name__``, a package, or in its ``__package__``."""
        name = self.module if package == "__name__" else self.absolute(".")
        return [module for module in self.tree.modules if module.rpartition(".")[0] == name]


_Found = tuple[str, int, Kind]


def _read(file: _File, node: ast.AST, kind: Kind) -> Iterator[_Found]:
    for child, its_kind in _children(node, kind):
        yield from _names(file, child, its_kind)
        if not _is_label(child):
            yield from _read(file, child, its_kind)


def _children(node: ast.AST, kind: Kind) -> Iterator[tuple[ast.AST, Kind]]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and kind is Kind.TOP:
        kind = Kind.FUNCTION
    typing_only = node.body if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) else []
    for child in ast.iter_child_nodes(node):
        yield child, Kind.TYPING if child in typing_only else kind


def _names(file: _File, node: ast.AST, kind: Kind) -> Iterator[_Found]:
    if isinstance(node, ast.Import):
        yield from ((alias.name, node.lineno, kind) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = file.absolute("." * node.level + (node.module or ""))
        yield from ((f"{base}.{alias.name}", node.lineno, kind) for alias in node.names)
    elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "taskq":
        yield f"taskq.{node.attr}", node.lineno, kind  # after "import taskq"
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and file.tree.is_module_or_name(node.value):
        yield node.value, node.lineno, Kind.STRING
    elif isinstance(node, ast.Call) and _called(node) in _LOADERS and node.args:
        yield from ((name, node.lineno, its_kind) for name, its_kind in _loaded(file, node.args[0]))


def _loaded(file: _File, argument: ast.expr) -> Iterator[tuple[str, Kind]]:
    """Yield the modules that ``import_module(argument)`` may import, as far as ``_names`` does not see them."""
    if isinstance(argument, ast.Constant):
        if not file.tree.is_module_or_name(str(argument.value)):
            yield file.absolute(str(argument.value)), Kind.STRING
    elif found := _IN_PACKAGE.match(ast.unparse(argument)):
        yield from ((module, Kind.STRING) for module in file.children(found[1]))
    else:
        yield ast.unparse(argument), Kind.UNREADABLE


def _is_label(node: ast.AST) -> bool:
    if isinstance(node, ast.keyword):
        return node.arg in _LABELLING_KEYWORDS
    return isinstance(node, ast.Call) and _called(node) in _LABELLING_CALLS


def _called(node: ast.Call) -> str:
    return ast.unparse(node.func).rpartition(".")[2]


def _defined(text: str) -> Iterator[str]:
    """Yield the names that a module has: what it defines, assigns and imports."""
    for node in ast.parse(text).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from map(ast.unparse, node.targets)
        elif isinstance(node, ast.AnnAssign):
            yield ast.unparse(node.target)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name for alias in node.names)


def parents(name: str) -> list[str]:
    """Return the packages that a dotted name is in, the innermost first."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(len(parts) - 1, 0, -1)]


# -- arrows: names, and the names that each of them imports

Arrows = dict[str, set[str]]


def circles(arrows: Arrows) -> list[list[str]]:
    """Return the circles: each set of names that all lead to each other (a strongly connected component)."""
    ends = {name: reached(name, arrows) for name in arrows}
    found = {frozenset(other for other in ends[name] if name in ends.get(other, ())) for name in arrows}
    return sorted(sorted(circle) for circle in found if circle)


def without_detours(arrows: Arrows) -> Arrows:
    """Leave out each arrow whose end other arrows reach too (transitive reduction). There must be no circle."""
    return {
        name: {end for end in ends if not any(end in reached(via, arrows) for via in ends)}
        for name, ends in arrows.items()
    }


def reached(start: str, arrows: Arrows) -> set[str]:
    """Return the names that arrows lead to from ``start``."""
    seen: set[str] = set()
    todo = set(arrows.get(start, ()))
    while todo:
        seen |= todo
        todo = {end for name in todo for end in arrows.get(name, ())} - seen
    return seen
