"""The text format of Prometheus, version 0.0.4: families of samples become text.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

#: The media type of what ``render`` returns.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_HELP_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n"})
_LABEL_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


class Sample(NamedTuple):
    """A value with its labels. ``suffix`` is appended to the name of the family, as a histogram's ``_bucket``."""

    value: float
    labels: Mapping[str, str] = {}
    suffix: str = ""


@dataclass(slots=True)
class Family:
    """The samples of one name. ``kind`` is ``counter``, ``gauge`` or ``histogram``; ``help`` is a sentence."""

    name: str
    kind: str
    help: str
    samples: list[Sample] = field(default_factory=list)

    def add(self, value: float, suffix: str = "", /, **labels: str) -> None:
        """Add a sample with these labels."""
        self.samples.append(Sample(value, labels, suffix))


def render(families: Iterable[Family]) -> bytes:
    """Return the families as text, in their order: ``render([Family("taskq_workers", "gauge", "Workers.")])``.

    A family without samples has its help and its type all the same.
    """
    lines = (line for family in families for line in _lines(family))
    # Half of a surrogate pair can't be written as UTF-8.
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")


def _lines(family: Family) -> Iterator[str]:
    yield f"# HELP {family.name} {family.help.translate(_HELP_ESCAPES)}"
    yield f"# TYPE {family.name} {family.kind}"
    for sample in family.samples:
        yield f"{family.name}{sample.suffix}{_labels(sample.labels)} {_number(sample.value)}"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    pairs = (f'{name}="{value.translate(_LABEL_ESCAPES)}"' for name, value in labels.items())
    return f"{{{','.join(pairs)}}}"


def _number(value: float) -> str:
    if isinstance(value, int):
        return str(int(value))
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(value)
