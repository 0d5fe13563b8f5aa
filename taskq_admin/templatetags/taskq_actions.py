"""The buttons of actions: ``{% load taskq_actions %}{% taskq_actions "taskrun" run %}``, made by ``views.buttons``."""

from __future__ import annotations

from typing import Any

from django import template
from django.contrib.admin.views.main import ChangeList
from django.template import Context

from taskq_admin import views

register = template.Library()


@register.inclusion_tag("admin/taskq_admin/actions.html", takes_context=True)
def taskq_actions(context: Context, of: str, row: Any) -> dict[str, Any]:
    """Show the buttons that the user may press and that the row allows; ``of`` is the model's name."""
    return views.buttons.of_row(context["request"], of, row)


@register.simple_tag(takes_context=True)
def taskq_audit_address(context: Context) -> str:
    """Return the address of the page that says who did what, empty for who may not see it."""
    return views.audit.address(context["request"])


@register.inclusion_tag("admin/taskq_admin/list_actions.html", takes_context=True)
def taskq_list_actions(context: Context, cl: ChangeList) -> dict[str, Any]:
    """Show the actions of a list: on the rows whose boxes are ticked, or on all that match its filters.

    It is a form of its own and has to stand outside of others; the boxes name it by their attribute ``form``.
    """
    return views.buttons.of_list(context["request"], cl)
