"""The rows that an action is asked for, by their ids in the address or in the form. Called by the action view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from django.http import HttpRequest

from taskq_admin.badges import LONGEST

#: Rows that one request takes by their ids.
MANY = 500
#: Rows that the confirm page names.
SAMPLE = 10


class Finder(Protocol):
    """What finds rows by ids: a ``ReadOnlyAdmin``."""

    def action_rows(self, request: HttpRequest, ids: Sequence[str]) -> Mapping[str, Any]:
        """Return the rows that exist by id."""
        ...


@dataclass(frozen=True, slots=True)
class Selection:
    """The rows that were asked for, by id, and the ids that have none (any more)."""

    rows: Mapping[str, Any]
    gone: Sequence[str] = ()
    left_out: int = 0

    @property
    def ids(self) -> list[str]:
        """The ids of the rows."""
        return list(self.rows)

    @property
    def names(self) -> list[str]:
        """How the first rows are called."""
        return [str(row) for row in list(self.rows.values())[:SAMPLE]]

    @property
    def unnamed(self) -> int:
        """How many more there are."""
        return max(len(self.rows) - SAMPLE, 0)


def chosen(finder: Finder, request: HttpRequest) -> Selection:
    """Look up the rows whose ids the request names, in the order in which it names them."""
    asked = list(dict.fromkeys([*request.POST.getlist("id"), *request.GET.getlist("id")]))
    ids = asked[:MANY]
    found = finder.action_rows(request, [each for each in ids if _can_be(each)])
    return Selection(
        rows={each: found[each] for each in ids if each in found},
        gone=[each for each in ids if each not in found],
        left_out=len(asked) - len(ids),
    )


def _can_be(text: str) -> bool:
    """Tell whether a database would look for this text: half of a surrogate pair is none."""
    return 0 < len(text) <= LONGEST and "\0" not in text and text.encode(errors="replace").decode() == text
