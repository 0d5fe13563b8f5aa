"""How large functions and files may be, counted by reading the source.

**Lines of a body** are lines with code: no docstring, no comments, no blank lines; nested
functions are a part of the function around them. **Branches** are counted like McCabe's
complexity without its first one: each ``if``, ``elif``, ``for``, ``while``, ``except`` and
``case``, each ``and`` and ``or``, each conditional expression, and in comprehensions each
``for`` and ``if``. ``with`` is none, and a nested function has its own.
"""

from __future__ import annotations

import ast
import io
import statistics
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support.imports import Tree

MOST_LINES, MOST_BRANCHES, LONGEST_FILE, MEDIAN_LINES = 45, 15, 400, 4

Defined = ast.FunctionDef | ast.AsyncFunctionDef
_NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}
_ONE_BRANCH = ast.If | ast.For | ast.AsyncFor | ast.While | ast.ExceptHandler | ast.match_case | ast.IfExp


@dataclass(frozen=True)
class Function:
    """A function: where it stands, and its figures."""

    name: str
    lines: int
    branches: int

    def __str__(self) -> str:
        return f"{self.name}: {self.lines} lines, {self.branches} branches"

    @property
    def is_large(self) -> bool:
        return self.lines > MOST_LINES or self.branches > MOST_BRANCHES


def functions(path: str, text: str) -> list[Function]:
    """Return all functions of a file, nested ones too."""
    code = lines_with_code(text)
    return [
        Function(f"{path} {name}", len(code & _lines_of_body(node)), branches(node))
        for name, node in _definitions(ast.parse(text))
    ]


def lines_with_code(text: str) -> set[int]:
    """Return the numbers of the lines on which there is code."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return {line for token in tokens if token.type not in _NO_CODE for line in range(token.start[0], token.end[0] + 1)}


def branches(function: Defined) -> int:
    """Return how many branches a function has, see the module."""
    return sum(_branches_of(node) for node in _inside(function))


def _branches_of(node: ast.AST) -> int:
    if isinstance(node, ast.BoolOp):
        return len(node.values) - 1
    if isinstance(node, ast.comprehension):
        return 1 + len(node.ifs)
    return int(isinstance(node, _ONE_BRANCH))


def _inside(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, Defined):
            yield child
            yield from _inside(child)


def _definitions(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, Defined]]:
    for child in ast.iter_child_nodes(node):
        name = f"{prefix}{child.name}" if isinstance(child, Defined | ast.ClassDef) else prefix.rstrip(".")
        if isinstance(child, Defined):
            yield name, child
        yield from _definitions(child, f"{name}." if name else "")


def _lines_of_body(function: Defined) -> set[int]:
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return {line for statement in body for line in range(statement.lineno, (statement.end_lineno or 0) + 1)}


TREE = Tree()
LENGTHS = {TREE.path(module): len(TREE.text(module).splitlines()) for module in TREE.modules}
LONG_FILES = {path: length for path, length in LENGTHS.items() if length > LONGEST_FILE}
FUNCTIONS = [f for module in TREE.modules for f in functions(TREE.path(module), TREE.text(module))]


def _worst(found: list[Function]) -> str:
    return "\n  ".join(["", *map(str, sorted(found, key=lambda f: (f.branches, f.lines), reverse=True)[:10])])


def test_functions_are_small() -> None:
    large = [f for f in FUNCTIONS if f.is_large]
    assert not large, f"At most {MOST_LINES} lines and {MOST_BRANCHES} branches:{_worst(large)}"


def test_bodies_are_short_in_the_middle() -> None:
    median = statistics.median(f.lines for f in FUNCTIONS)
    assert median <= MEDIAN_LINES, f"The median body has {median} lines, the longest are:{_worst(FUNCTIONS)}"


def test_files_are_short() -> None:
    long = sorted(f"{path}: {length} lines" for path, length in LONG_FILES.items())
    assert not long, f"At most {LONGEST_FILE} lines: {long}"


# -- how it is counted

EXAMPLE = '''
def outer(x):
    """Says
    something."""

    # why
    text = """a

    b"""

    def inner(y):
        return y if y else [n for n in y if n]

    return (
        text
    )
'''


def test_lines_are_lines_of_code() -> None:
    outer, inner = functions("x.py", EXAMPLE)
    assert (outer.name, outer.lines) == ("x.py outer", 8)
    assert (inner.name, inner.lines) == ("x.py outer.inner", 1)


@pytest.mark.parametrize(
    ("body", "count"),
    [
        ("if a: pass\n elif b: pass\n else: pass", 2),
        ("for a in b:\n  while c: pass", 2),
        ("try: pass\n except A: pass\n except B: pass\n finally: pass", 2),
        ("with a: pass", 0),
        ("return a and b and c or d", 3),
        ("return [a for b in c for d in b if e if f]", 4),
        ("return a if b else c", 1),
        ("match a:\n  case 1: pass\n  case _: pass", 2),
        ("return lambda: a or b", 1),
        ("def g():\n  if a: pass", 0),
    ],
)
def test_branches_are_counted(body: str, count: int) -> None:
    assert functions("x.py", f"def f():\n {body}\n")[0].branches == count
