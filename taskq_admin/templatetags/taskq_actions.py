"""The buttons of actions: ``{% load taskq_actions %}{% taskq_actions "taskrun" run %}``.

They are links to the confirm page, or forms where nothing is asked, so they work without a script.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django import template
from django.contrib.admin.models import DELETION
from django.contrib.admin.views.main import ChangeList
from django.http import HttpRequest
from django.template import Context
from django.urls import NoReverseMatch, reverse

from taskq import timezones
from taskq_admin.actions.base import ACTIONS, Action, Text, is_permitted, offered
from taskq_admin.views import audit

register = template.Library()
#: Which attribute of a row is its id for actions; another one's is the primary key.
IDS = {"taskrun": "task_id", "queue": "name", "node": "root_id"}


@dataclass(frozen=True, slots=True)
class Button:
    """One button: the address that acts, and the one that asks first; or the reason why it can't be pressed."""

    action: Action
    address: str
    asking: str
    refusal: Text


@register.inclusion_tag("admin/taskq_admin/actions.html", takes_context=True)
def taskq_actions(context: Context, of: str, row: Any) -> dict[str, Any]:
    """Show the buttons that the user may press and that the row allows; ``of`` is the model's name."""
    request: HttpRequest = context["request"]
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


@register.simple_tag(takes_context=True)
def taskq_audit_address(context: Context) -> str:
    """Return the address of the page that says who did what, empty for who may not see it."""
    return audit.address(context["request"])


@register.inclusion_tag("admin/taskq_admin/list_actions.html", takes_context=True)
def taskq_list_actions(context: Context, cl: ChangeList) -> dict[str, Any]:
    """Show the actions of a list: on the rows whose boxes are ticked, or on all that match its filters.

    It is a form of its own and has to stand outside of others; the boxes name it by their attribute ``form``.
    """
    request: HttpRequest = context["request"]
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


def _button(action: Action, row: Any, row_id: str, request: HttpRequest, site: str | None) -> Button | None:
    try:
        address = reverse(f"admin:taskq_{action.of}_do", args=[action.key], current_app=site)
    except NoReverseMatch:  # This site does not show the model.
        return None
    # The page of a row that is deleted is no place to go back to.
    back = {} if action.flag == DELETION else {"next": request.get_full_path()}
    refusal = "" if row is None else action.refuses(row)
    return Button(action, address, f"{address}?{urlencode({'id': row_id, **back})}", refusal)
