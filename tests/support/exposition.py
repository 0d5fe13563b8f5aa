"""A strict reader of Prometheus' text format 0.0.4: it refuses what Prometheus, or its conventions, would not like."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\\\|\\"|\\n)*)"'
_SAMPLE = re.compile(rf"({_NAME})(?:\{{({_LABEL}(?:,{_LABEL})*)\}})? (\S+)")
_SUFFIXES = {"histogram": ("_bucket", "_sum", "_count")}
_UNESCAPED = {r"\\": "\\", r"\"": '"', r"\n": "\n"}

Labels = frozenset[tuple[str, str]]


@dataclass
class Read:
    """A family as read: its kind, its help, and the values by the sample's name and labels."""

    name: str
    help: str
    kind: str = ""
    values: dict[tuple[str, Labels], float] = field(default_factory=dict)

    def value(self, suffix: str = "", /, **labels: str) -> float:
        return self.values[self.name + suffix, frozenset(labels.items())]


def parse(text: str) -> dict[str, Read]:
    """Return the families by name. An ``AssertionError`` says what is wrong."""
    assert text.endswith("\n"), "the last line has no end"
    found: dict[str, Read] = {}
    current: Read | None = None
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            _, _, name, about = line.split(" ", 3)
            assert name not in found, f"{name} comes twice"
            assert about.strip(), f"{name} has no help"
            current = found[name] = Read(name, about)
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert current is not None, line
            assert (current.name, current.kind, current.values) == (name, "", {}), line
            assert kind in {"counter", "gauge", "histogram"}, line
            assert (kind == "counter") == name.endswith("_total"), line
            current.kind = kind
        else:
            assert current is not None, line
            _read_sample(current, line)
    for family in found.values():
        assert family.kind, f"{family.name} has no type"
        if family.kind == "histogram":
            _check_histogram(family)
    return found


def _read_sample(family: Read, line: str) -> None:
    match = _SAMPLE.fullmatch(line)
    assert match, f"no sample: {line!r}"
    name, labels, value = match[1], match[2] or "", match[match.lastindex or 0]
    allowed = [family.name + suffix for suffix in _SUFFIXES.get(family.kind, ("",))]
    assert name in allowed, f"{name} among the samples of {family.name}"
    pairs = [(key, _unescaped(text)) for key, text in re.findall(_LABEL, labels)]
    assert len({key for key, _ in pairs}) == len(pairs), f"a label comes twice: {line!r}"
    key = name, frozenset(pairs)
    assert key not in family.values, f"a series comes twice: {line!r}"
    family.values[key] = float(value.replace("Inf", "inf"))
    assert family.kind == "gauge" or family.values[key] >= 0, line


def _unescaped(text: str) -> str:
    return re.sub(r'\\[\\"n]', lambda match: _UNESCAPED[match[0]], text)


def _check_histogram(family: Read) -> None:
    series: dict[Labels, dict[float, float]] = {}
    for (name, labels), value in family.values.items():
        if name == f"{family.name}_bucket":
            (bound,) = (text for key, text in labels if key == "le")
            rest = frozenset(pair for pair in labels if pair[0] != "le")
            series.setdefault(rest, {})[float(bound.replace("Inf", "inf"))] = value
    counts = {labels for name, labels in family.values if name == f"{family.name}_count"}
    assert counts == series.keys(), f"{family.name}: counts without buckets, or buckets without counts"
    for labels, buckets in series.items():
        ordered = [buckets[bound] for bound in sorted(buckets)]
        assert ordered == sorted(ordered), f"{family.name}: buckets are not cumulative"
        assert buckets[math.inf] == family.values[f"{family.name}_count", labels]
        assert (f"{family.name}_sum", labels) in family.values
