"""The rows that an action is asked for: by their ids, or by a filter. Called by the action view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from django.http import HttpRequest, QueryDict
from django.utils.translation import gettext as _

from taskq_admin.badges import LONGEST, short
from taskq_admin.queries.capped import CappedCount
from taskq_admin.queries.tabs import ALL, tab_for
from taskq_admin.queries.wanted import PARAMETERS, Wanted

from . import bulk

#: Rows that one request takes by their ids.
MANY = 500
#: What the address of a list has besides its filters.
_OF_PAGES = frozenset({"p", "e", "format"})
#: Rows that the confirm page names.
SAMPLE = 10


class Finder(Protocol):
    """What finds rows by ids: a ``ReadOnlyAdmin``."""

    def action_rows(self, request: HttpRequest, ids: Sequence[str]) -> Mapping[str, Any]:
        """Return the rows that exist by id."""
        ...

    def allowed(self, request: HttpRequest, wanted: Wanted) -> tuple[Wanted, list[str]]:
        """Return what the user may look for, and why not for more."""
        ...


@dataclass(frozen=True, slots=True)
class Selection:
    """The rows that were asked for, by id, and the ids that have none (any more).

    ``wanted`` says that all tasks that match a filter are meant, which ``query`` is the text of; ``rows`` are the first
    of them, and ``found`` says how many there are. ``problems`` say why nothing may be done to what was asked for.
    """

    rows: Mapping[str, Any]
    gone: Sequence[str] = ()
    left_out: int = 0
    wanted: Wanted | None = None
    query: str = ""
    found: CappedCount | None = None
    problems: Sequence[str] = ()

    @property
    def ids(self) -> list[str]:
        """The ids of the rows."""
        return list(self.rows)

    @property
    def names(self) -> list[str]:
        """How the first rows are called."""
        return [str(row) for row in list(self.rows.values())[:SAMPLE]]

    @property
    def count(self) -> CappedCount:
        """How many rows are meant."""
        return self.found or CappedCount(len(self.rows))

    @property
    def unnamed(self) -> str:
        """How many more there are than are named; empty if there are no more."""
        rest = CappedCount(max(self.count.value - SAMPLE, 0), self.count.more)
        return str(rest) if rest else ""


def chosen(finder: Finder, request: HttpRequest, *, bulk_allowed: bool = False) -> Selection:
    """Look up the rows whose ids the request names, in its order; or those that match the filter that it names."""
    asked = {**request.GET.dict(), **request.POST.dict()}
    if bulk_allowed and asked.get("scope") == "all":
        return _matching(finder, request, str(asked.get("filter", "")), everything=bool(asked.get("everything")))
    ids = list(dict.fromkeys([*request.POST.getlist("id"), *request.GET.getlist("id")]))
    return _by_ids(finder, request, ids)


def _by_ids(finder: Finder, request: HttpRequest, asked: Sequence[str]) -> Selection:
    ids = asked[:MANY]
    found = finder.action_rows(request, [each for each in ids if _can_be(each)])
    return Selection(
        rows={each: found[each] for each in ids if each in found},
        gone=[each for each in ids if each not in found],
        left_out=len(asked) - len(ids),
    )


def _matching(finder: Finder, request: HttpRequest, query: str, *, everything: bool) -> Selection:
    """Look up what matches a filter: if that is little, it is as if these rows had been chosen.

    A list shows more for a filter that can't be read. To act on more than was meant is worse than not to act.
    """
    parameters = QueryDict(query.lstrip("?"))
    asked = bulk.wanted_by(parameters.dict())
    wanted, problems = finder.allowed(request, asked)
    problems = [*problems, *_unread(parameters)]
    if not (problems or everything or asked.tab or asked.is_narrowed):
        problems = [_("Nothing limits which tasks are meant: to act on all there are, say so with everything=1.")]
    if problems:
        return Selection(rows={}, query=query, problems=problems)
    ids, found = bulk.first(wanted, max(bulk.FEW, SAMPLE))
    if not found.more and found.value <= bulk.FEW:
        return replace(_by_ids(finder, request, ids), query=query)
    rows = finder.action_rows(request, ids[:SAMPLE])
    named = {each: rows[each] for each in ids[:SAMPLE] if each in rows}
    return Selection(rows=named, wanted=wanted, query=query, found=found)


def _unread(parameters: QueryDict) -> list[str]:
    """Return sentences about what a list would not heed, or not all of."""
    found = []
    for name, values in parameters.lists():
        shown = {"name": short(name), "value": short(values[-1])}
        if name not in PARAMETERS and name not in _OF_PAGES:
            found.append(_("There is no filter %(name)s.") % shown)
        elif len(set(values)) > 1:
            found.append(_("The filter %(name)s is there twice.") % shown)
    tab = parameters.get("tab", "").strip()
    if tab and tab_for(tab) is ALL:
        found.append(_("There is no tab %(name)s.") % {"name": short(tab)})
    search = parameters.get("q", "")
    if search.strip() and not Wanted.of({"q": search}).is_narrowed:
        found.append(_("The search %(text)s says nothing to look for.") % {"text": short(search)})
    return found


def _can_be(text: str) -> bool:
    """Tell whether a database would look for this text: half of a surrogate pair is none."""
    return 0 < len(text) <= LONGEST and "\0" not in text and text.encode(errors="replace").decode() == text
