"""The list of workflows, newest first: which there are, and how far each is. Cost does not grow with the table.

``Node`` has a row a task. Its newest rows are read until there are roots enough for a page; a workflow stands where its
newest node is. A workflow with very many tasks is judged by the rows of its groups.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.db.models import OuterRef, QuerySet, Subquery

from taskq import states
from taskq.conf import settings
from taskq.models import Group, Node, TaskRun

from .workflows import DONE, FAILED, NOT_SENT, WAITING, part_of, state_of

#: Workflows of a page.
PAGE = 25
#: Rows that are read at once to find roots, and how often.
SCAN, LOOKS = 2_000, 3
#: Rows whose states are read for all workflows of a page.
STATES = 10_000
#: A workflow with more rows than this in one look is large.
_LARGE = SCAN // 2
#: Large workflows whose groups are read for a page.
LARGE = 2


@dataclass(slots=True)
class Summary:
    """One workflow of the list. ``counts`` are by the parts of a progress bar; ``more``: it has more tasks than these.

    ``created_at`` is when its first task was written, of those that were read.
    """

    root_id: str
    name: str = ""
    counts: Counter[str] = field(default_factory=Counter)
    groups: int = 0
    created_at: datetime | None = None
    more: bool = False

    @property
    def total(self) -> int:
        """How many tasks were counted."""
        return self.counts.total()

    @property
    def state(self) -> str:
        """One word for all of it, or nothing, as of ``state_of``."""
        return state_of(self.counts, self.more)


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the list; ``older`` is for the next one, ``None`` if there is none."""

    rows: list[Summary]
    older: int | None = None


def page(before: int | None = None) -> Page:
    """Return the workflows whose newest node is older than the row ``before``."""
    found = _Found(before)
    large = [root_id for root_id, seen in found.seen.items() if seen > _LARGE]
    rows = {root_id: Summary(root_id) for root_id in found.roots}
    _count_small([root_id for root_id in rows if root_id not in large], rows)
    _count_large(large, rows)
    return Page(list(rows.values()), found.older)


class _Found:
    """The roots of one page, by the newest node of each."""

    def __init__(self, before: int | None) -> None:
        self.roots: list[str] = []
        self.seen: Counter[str] = Counter()
        self.older: int | None = None
        place, skipped = before, set[str]()
        for _ in range(LOOKS):
            batch = self._look(place)
            fresh = self._shown_before(before, {root_id for _, root_id in batch} - self.seen.keys() - skipped)
            skipped |= fresh
            for place, root_id in batch:
                if root_id in skipped:
                    continue
                if root_id not in self.seen:
                    if len(self.roots) == PAGE:
                        self.older = place + 1
                        return
                    self.roots.append(root_id)
                self.seen[root_id] += 1
            if len(batch) < SCAN:
                return
        self.older = place

    def _look(self, place: int | None) -> list[tuple[int, str]]:
        rows = _nodes().order_by("-id")
        if place is not None:
            rows = rows.filter(id__lt=place)
        # A workflow that fills a look is passed over in the next one.
        passed = [root_id for root_id, seen in self.seen.items() if seen > _LARGE]
        return list(rows.exclude(root_id__in=passed).values_list("id", "root_id")[:SCAN])

    def _shown_before(self, before: int | None, roots: set[str]) -> set[str]:
        """Return the roots that a newer page has shown: they have newer nodes than that."""
        if before is None or not roots:
            return set()
        rows = _nodes().filter(root_id__in=sorted(roots), id__gte=before)
        return set(rows.values_list("root_id", flat=True).distinct())


def _nodes() -> QuerySet[Node]:
    return Node.objects.using(settings.DATABASE)


def _count_small(root_ids: Sequence[str], into: dict[str, Summary]) -> None:
    if not root_ids:
        return
    run = TaskRun.objects.filter(task_id=OuterRef("task_id"))
    # In the order of the index, so that the limit ends the reading.
    rows = (
        _nodes().filter(root_id__in=root_ids).order_by("root_id").annotate(run_state=Subquery(run.values("state")[:1]))
    )
    fields = ("root_id", "task_id", "name", "group_id", "state", "revoked", "run_state", "created_at")
    groups: dict[str, set[str]] = {root_id: set() for root_id in root_ids}
    last = ""
    read = 0
    for root_id, task_id, name, group_id, state, revoked, run_state, at in rows.values_list(*fields)[:STATES]:
        summary, last, read = into[root_id], root_id, read + 1
        shown = run_state or state or (states.REVOKED if revoked else NOT_SENT)
        summary.counts[part_of(shown)] += 1
        if task_id == root_id or not summary.name:
            summary.name = name
        if group_id:
            groups[root_id].add(group_id)
        summary.created_at = min(summary.created_at or at, at)
    for root_id in root_ids:
        into[root_id].groups = len(groups[root_id])
        into[root_id].more = read == STATES and (root_id == last or not into[root_id].total)


def _count_large(root_ids: Sequence[str], into: dict[str, Summary]) -> None:
    """Count by the rows of the groups to which tasks of the first ``LARGE`` workflows belong."""
    of_group: dict[str, str] = {}
    for root_id in root_ids[:LARGE]:
        summary, rows = into[root_id], _nodes().filter(root_id=root_id)
        found = list(rows.values_list("name", "group_id", "created_at")[:_LARGE])
        summary.name = next((name for name, *_ in found), "")
        summary.created_at = min((at for *_, at in found), default=None)
        of_group |= {group_id: root_id for _, group_id, _ in found if group_id}
    groups = (
        Group.objects.using(settings.DATABASE).filter(group_id__in=list(of_group)) if of_group else Group.objects.none()
    )
    for group_id, size, remaining, failed in groups.values_list("group_id", "size", "remaining", "failed"):
        summary = into[of_group[group_id]]
        summary.groups += 1
        summary.counts.update({WAITING: remaining, DONE: max(0, size - remaining - failed), FAILED: int(failed)})
    for root_id in root_ids:
        into[root_id].more = True
