"""The layout of a graph, from the top to the bottom: where each box and each line is. Pure: no rows, no HTML.

The method is Sugiyama's, as ``dot`` has it: boxes are put into layers, long lines get places of their own in the layers
that they cross, the layers are sorted so that few lines cross, and each box goes as near to its neighbours as the
others in its layer allow.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

#: Empty space between two boxes of a layer, between two layers, and around the graph.
GAP_X, GAP_Y, MARGIN = 16.0, 34.0, 4.0
#: The width of the place of a line that crosses a layer.
_LINE = 8.0
_SWEEPS = 6
Size = tuple[float, float]
Edge = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Box:
    """The place of a box: its left upper corner and its size. ``layer`` counts from the top."""

    x: float
    y: float
    width: float
    height: float
    layer: int


@dataclass(frozen=True, slots=True)
class Line:
    """A line from the bottom of the box ``start`` to the top of the box ``end``, as the path of an SVG."""

    start: str
    end: str
    path: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """A graph with places. ``boxes`` are by their keys."""

    width: float
    height: float
    boxes: dict[str, Box]
    lines: list[Line]


def layout(sizes: Mapping[str, Size], edges: Iterable[Edge]) -> Drawing:
    """Return the places of boxes, whose sizes are given by their keys, and of the lines between them.

    The order of ``sizes`` is that of the boxes from left to right, as far as lines allow. Lines from and to unknown
    boxes are left out, and as many as close circles.

    >>> drawing = layout({"a": (10, 10), "b": (10, 10)}, [("a", "b")])
    >>> [(box.x, box.y) for box in drawing.boxes.values()]
    [(4.0, 4.0), (4.0, 48.0)]
    """
    forward = _forward(list(sizes), edges)
    layers = _layers(list(sizes), forward)
    graph = _Layered(sizes, layers, forward)
    graph.sort()
    return graph.drawing()


def _forward(keys: Sequence[str], edges: Iterable[Edge]) -> list[Edge]:
    """Return the edges between ``keys`` without those that close a circle, in an order of their starts."""
    known = set(keys)
    wanted = list(dict.fromkeys((a, b) for a, b in edges if a != b and a in known and b in known))
    after: dict[str, list[str]] = defaultdict(list)
    missing = dict.fromkeys(keys, 0)
    for a, b in wanted:
        after[a].append(b)
        missing[b] += 1
    found: list[Edge] = []
    done: dict[str, None] = {}
    ready = [key for key in reversed(keys) if not missing[key]]
    waiting = dict.fromkeys(keys)
    while waiting:
        # Nothing is ready in a circle: its first box is taken for a start.
        key = ready.pop() if ready else next(iter(waiting))
        waiting.pop(key, None)
        if key in done:
            continue
        done[key] = None
        for b in after[key]:
            if b not in done:
                found.append((key, b))
                missing[b] -= 1
                if not missing[b]:
                    ready.append(b)
    return found


def _layers(keys: Sequence[str], edges: Sequence[Edge]) -> dict[str, int]:
    """Return the layer of each box: one below the lowest box before it. The edges are in the order of their starts."""
    layers = dict.fromkeys(keys, 0)
    for a, b in edges:
        layers[b] = max(layers[b], layers[a] + 1)
    return layers


class _Layered:
    """The boxes, and the places of lines, layer by layer. A place of a line is ``(number of the edge, layer)``."""

    def __init__(self, sizes: Mapping[str, Size], layers: Mapping[str, int], edges: Sequence[Edge]) -> None:
        self._sizes = sizes
        self._layer_of = layers
        self._rows: list[list[object]] = [[] for _ in range(max(layers.values(), default=-1) + 1)]
        self._above: dict[object, list[object]] = defaultdict(list)
        self._below: dict[object, list[object]] = defaultdict(list)
        self._routes: list[list[object]] = []
        for number, (a, b) in enumerate(edges):
            between: list[object] = [(number, layer) for layer in range(layers[a] + 1, layers[b])]
            route = [a, *between, b]
            self._routes.append(route)
            for upper, lower in pairwise(route):
                self._below[upper].append(lower)
                self._above[lower].append(upper)
        self._fill()
        self._x: dict[object, float] = {}

    def _fill(self) -> None:
        """Put all into their layers, in the order of a walk from each start: what belongs together is side by side."""
        seen: set[object] = set()
        for start in self._sizes:
            todo: list[object] = [start] if not self._above[start] else []
            while todo:
                each = todo.pop()
                if each not in seen:
                    seen.add(each)
                    self._rows[self._row_of(each)].append(each)
                    todo += reversed(self._below[each])

    def _row_of(self, each: object) -> int:
        return self._layer_of[each] if isinstance(each, str) else each[1]  # type: ignore[index]

    def _width(self, each: object) -> float:
        return self._sizes[each][0] if isinstance(each, str) else _LINE

    # -- order and places

    def sort(self) -> None:
        """Sort each layer by the mean place of its neighbours, from above and from below in turns."""
        for sweep in range(_SWEEPS):
            down = sweep % 2 == 0
            neighbours = self._above if down else self._below
            places = {each: place for row in self._rows for place, each in enumerate(row)}
            for row in self._rows if down else reversed(self._rows):
                wish = {each: _mean([places[n] for n in neighbours[each]], places[each]) for each in row}
                row.sort(key=wish.__getitem__)
                places.update((each, place) for place, each in enumerate(row))

    def _place(self) -> None:
        for row in self._rows:
            self._put(row, {})
        for sweep in range(_SWEEPS):
            down = sweep % 2 == 0
            neighbours = self._above if down else self._below
            for row in self._rows if down else reversed(self._rows):
                self._put(row, neighbours)
        least = min((x - self._width(each) / 2 for each, x in self._x.items()), default=0.0)
        self._x = {each: x - least + MARGIN for each, x in self._x.items()}

    def _put(self, row: Sequence[object], neighbours: Mapping[object, Sequence[object]]) -> None:
        """Put each of a layer as near to the mean of its neighbours as the order and the widths allow."""
        offsets, offset = [], 0.0
        for place, each in enumerate(row):
            if place:
                offset += (self._width(row[place - 1]) + self._width(each)) / 2 + GAP_X
            offsets.append(offset)
        wishes = [
            _mean([self._x[n] for n in neighbours.get(each, ())], self._x.get(each, offset))
            for each, offset in zip(row, offsets, strict=True)
        ]
        found = _rising([wish - offset for wish, offset in zip(wishes, offsets, strict=True)])
        self._x.update((each, x + offset) for each, x, offset in zip(row, found, offsets, strict=True))

    # -- result

    def drawing(self) -> Drawing:
        """Return all with their places."""
        self._place()
        tops, y = [], MARGIN
        heights = [
            max((self._sizes[each][1] for each in row if isinstance(each, str)), default=0.0) for row in self._rows
        ]
        for height in heights:
            tops.append(y)
            y += height + GAP_Y
        boxes = {}
        for key, (width, height) in self._sizes.items():
            layer = self._layer_of[key]
            top = tops[layer] + (heights[layer] - height) / 2
            boxes[key] = Box(round(self._x[key] - width / 2, 1), round(top, 1), width, height, layer)
        right = max((box.x + box.width for box in boxes.values()), default=0.0)
        right = max([right, *(x + _LINE / 2 for x in self._x.values())])
        lines = [self._line(route, boxes, tops, heights) for route in self._routes]
        return Drawing(round(right + MARGIN, 1), round(max(y - GAP_Y, MARGIN) + MARGIN, 1), boxes, lines)

    def _line(
        self, route: Sequence[object], boxes: Mapping[str, Box], tops: Sequence[float], heights: Sequence[float]
    ) -> Line:
        start, *between, end = route
        assert isinstance(start, str)
        assert isinstance(end, str)
        x, y = self._x[start], boxes[start].y + boxes[start].height
        path = [f"M{x:.1f} {y:.1f}"]
        for each in between:
            row = self._row_of(each)
            path.append(_curve(x, y, self._x[each], tops[row]))
            x, y = self._x[each], tops[row] + heights[row]
            path.append(f"V{y:.1f}")
        path.append(_curve(x, y, self._x[end], boxes[end].y))
        return Line(start, end, "".join(path))


def _curve(x: float, y: float, to_x: float, to_y: float) -> str:
    middle = (y + to_y) / 2
    return f"C{x:.1f} {middle:.1f} {to_x:.1f} {middle:.1f} {to_x:.1f} {to_y:.1f}"


def _mean(values: Sequence[float], default: float) -> float:
    return sum(values) / len(values) if values else default


def _rising(wishes: Sequence[float]) -> list[float]:
    """Return the numbers that never fall and are nearest to ``wishes``: neighbours in conflict share their mean."""
    blocks: list[tuple[float, int]] = []
    for wish in wishes:
        total, count = wish, 1
        while blocks and blocks[-1][0] / blocks[-1][1] > total / count:
            before, more = blocks.pop()
            total, count = total + before, count + more
        blocks.append((total, count))
    return [total / count for total, count in blocks for _ in range(count)]
