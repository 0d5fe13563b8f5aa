"""The buttons of actions, on the page of a row and on lists. Called by template tags, and by ``admin.errors``.

They are links to the confirm page, or forms where nothing is asked, so they work without a script.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.contrib.admin.models import DELETION
from django.contrib.admin.views.main import ChangeList
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse

from taskq import timezones
from taskq.models import Worker
from taskq_admin.actions.base import ACTIONS, Action, Text, get, is_permitted, offered
from taskq_admin.actions.selection import MANY

from . import audit

if TYPE_CHECKING:
    from taskq_admin.admin.runs import TaskRunAdmin

#: Which attribute of a row is its id for actions; another one's is the primary key.
IDS = {"taskrun": "task_id", "queue": "name", "node": "root_id"}
#: What can be done to all workers at once, from their list.
_FOR_ALL = ("ping", "enable-events", "disable-events")
#: What can be done to all tasks of an error, by the keys of actions, and to which of them: those that have failed for
#: good, or those that wait or run to be tried again.
_OF_ERROR = {"retry": "failed", "revoke": "unfinished", "delete": "failed"}


@dataclass(frozen=True, slots=True)
class Button:
    """One button: the address that acts, and the one that asks first; or the reason why it can't be pressed."""

    action: Action
    address: str
    asking: str
    refusal: Text


def of_row(request: HttpRequest, of: str, row: Any) -> dict[str, Any]:
    """Return the buttons that the user may press and that the row allows; ``of`` is the model's name."""
    row_id = str(getattr(row, IDS.get(of, "pk")))
    site = getattr(request, "current_app", None)
    found = [_button(action, row, row_id, request, site) for action in offered(request, of, row)]
    buttons = [button for button in found if button]
    refusals: dict[str, list[Text]] = {}
    for button in buttons:
        if button.refusal:
            refusals.setdefault(str(button.refusal), []).append(button.action.label)
    return {
        "buttons": [button for button in buttons if not button.refusal],
        "refusals": refusals.items(),
        "id": row_id,
        "next": request.get_full_path(),
        "shown": timezones.now().isoformat(),
        # A workflow has no row of its own: entries name its first node, as ``Workflow.pk`` does.
        "audit": audit.address(request, of=of, id=str(row.pk)),
    }


def of_list(request: HttpRequest, cl: ChangeList) -> dict[str, Any]:
    """Return the actions of a list: on the rows whose boxes are ticked, or on all that match its filters."""
    site = getattr(request, "current_app", None)
    wanted = getattr(cl, "wanted", None)
    of = str(cl.opts.model_name)
    possible = [action for (model, _), action in ACTIONS.items() if model == of and action.bulk]
    # What is for none of those that are seen is left out: a list of ended tasks has nothing to revoke.
    useful = [action for action in possible if any(action.applies(row) for row in cl.result_list)]
    buttons = [_button(action, None, "", request, site) for action in useful if is_permitted(request, action)]
    return {
        "buttons": [button for button in buttons if button],
        # What is listed, and counted, is then everything: an address without a filter has to say so.
        "everything": wanted is not None and not (wanted.tab or wanted.is_narrowed),
        "filter": request.GET.urlencode(),
        "found": getattr(cl.paginator, "found", cl.result_count),
        "next": request.get_full_path(),
    }


def of_error(request: HttpRequest, runs: TaskRunAdmin, key: str, *, is_other: bool = False) -> list[dict[str, Any]]:
    """Return what the user may do to all tasks of an error; each asks before. ``runs`` are the pages of tasks.

    Which tasks wait to be tried again is known by what they raised, so not for ``is_other``: all other messages.
    """
    found = []
    for name, tab in _OF_ERROR.items():
        if is_other and tab == "unfinished":
            continue
        action = get("taskrun", name)
        if action is None or not runs.has_action_permission(request, action):
            continue
        try:
            address = reverse("admin:taskq_taskrun_do", args=[name], current_app=runs.admin_site.name)
        except NoReverseMatch:  # This site does not show tasks.
            continue
        query = {"scope": "all", "next": request.get_full_path(), "filter": urlencode({"tab": tab, "error": key})}
        found.append({"action": action, "address": f"{address}?{urlencode(query)}"})
    return found


def for_all_workers(request: HttpRequest, living: Sequence[Worker]) -> dict[str, Any]:
    """Return the buttons for all workers that live; each leads to a page that asks."""
    actions = [action for key in _FOR_ALL if (action := get("worker", key)) and is_permitted(request, action)]
    ids = urlencode([("id", worker.token) for worker in living[:MANY]])
    site = getattr(request, "current_app", None)
    addresses = [reverse("admin:taskq_worker_do", args=[action.key], current_app=site) for action in actions]
    links = [(action, f"{address}?{ids}") for action, address in zip(actions, addresses, strict=True)]
    return {"links": links if living else [], "count": len(living)}


def _button(action: Action, row: Any, row_id: str, request: HttpRequest, site: str | None) -> Button | None:
    try:
        address = reverse(f"admin:taskq_{action.of}_do", args=[action.key], current_app=site)
    except NoReverseMatch:  # This site does not show the model.
        return None
    # The page of a row that is deleted is no place to go back to.
    back = {} if action.flag == DELETION else {"next": request.get_full_path()}
    refusal = "" if row is None else action.refuses(row)
    return Button(action, address, f"{address}?{urlencode({'id': row_id, **back})}", refusal)
