"""``ResultGraph``: a task and its descendants, to walk through or to draw."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from .base import ResultBase


class ResultGraph:
    """Results in the order in which they were added, and the children of each.

    Iterating yields the results. A child of several results is in the graph once.
    """

    def __init__(self) -> None:
        self._children: dict[str, list[ResultBase]] = {}
        self._nodes: dict[str, ResultBase] = {}

    def add(self, parent: ResultBase | None, node: ResultBase) -> None:
        """Add ``node``, as a child of ``parent`` unless that is ``None``."""
        self._nodes.setdefault(node.id, node)
        self._children.setdefault(node.id, [])
        if parent is not None and node not in self._children[parent.id]:
            self._children[parent.id].append(node)

    def children(self, node: ResultBase) -> list[ResultBase]:
        """Return the children of ``node``. Raises ``KeyError`` for a result that is not in the graph."""
        return self._children[node.id]

    def items(self) -> Iterator[tuple[ResultBase, list[ResultBase]]]:
        """Yield each result with its children."""
        return ((node, self._children[key]) for key, node in self._nodes.items())

    def edges(self) -> list[tuple[ResultBase, ResultBase]]:
        """Return all pairs ``(result, child)``."""
        return [(node, child) for node, children in self.items() for child in children]

    def to_dot(self, file: TextIO | None = None) -> str:
        """Return the graph in Graphviz' language, and write it to ``file`` if given."""
        lines = ["digraph dependencies {"]
        lines += [f"    {_quoted(node)};" for node in self]
        lines += [f"    {_quoted(node)} -> {_quoted(child)};" for node, child in self.edges()]
        text = "\n".join([*lines, "}", ""])
        if file is not None:
            file.write(text)
        return text

    def __iter__(self) -> Iterator[ResultBase]:
        return iter(self._nodes.values())

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, node: object) -> bool:
        return str(node) in self._nodes

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self)} results>"

    def __str__(self) -> str:
        return "\n".join(f"{node}({', '.join(map(str, children))})" for node, children in self.items())


def _quoted(node: ResultBase) -> str:
    escaped = node.id.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
