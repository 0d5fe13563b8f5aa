"""The questions that actions of the admin ask before they act: of one row, of several, and of all that match."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from django.apps import apps
from django.urls import reverse

from taskq.models import Error
from taskq_admin.actions.base import ACTIONS

#: Rows of one question; more than a statement for each of them would be noticed.
SEVERAL = 20
#: Filters of which one may be answered in a way of its own.
FILTERS = ("tab=failed", "tab=waiting", "tab=running", "tab=failed&q=order_id%3D1", "tab=unfinished&q=shop", "since=7d")


class Question(NamedTuple):
    """A POST that asks: its address, its data, and what to call it."""

    address: str
    data: Mapping[str, Any]
    name: str


def questions(ids: Mapping[str, Sequence[str]]) -> Iterator[Question]:
    """Yield what each action asks, of the rows with these ``ids`` by the names of models."""
    for (of, key), action in list(ACTIONS.items()):
        address = reverse(f"admin:{apps.get_model('taskq', of)._meta.label_lower.replace('.', '_')}_do", args=[key])
        chosen: dict[str, dict[str, Any]] = {
            "one": {"id": list(ids[of][:1])},
            "several": {"id": list(ids[of][:SEVERAL])},
        }
        if action.bulk:
            filters = [*FILTERS, *_of_errors()]
            chosen |= {f"all, {text}": {"scope": "all", "filter": text} for text in filters}
        for name, data in chosen.items():
            yield Question(address, {**data, "ask": "1"}, f"{address} ({name})")


def _of_errors() -> Iterator[str]:
    """Yield the filters of the buttons on the page of errors, for the errors seen last."""
    for key in Error.objects.order_by("-last_seen").values_list("key", flat=True)[:3]:
        for tab in ("failed", "unfinished"):
            yield f"tab={tab}&error={key}"
