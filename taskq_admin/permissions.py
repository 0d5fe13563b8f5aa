"""Who may do what: the permissions of three groups, which ``manage.py taskgroups`` makes.

*Viewers* see all pages, but no arguments and results. *Operators* see these too, and act on what can be undone or goes
on by itself. *Admins* may do everything: run tasks with arguments of their own, delete, purge, stop workers.
"""

from __future__ import annotations

from collections.abc import Iterable

from django.apps import apps
from django.contrib import admin
from django.contrib.auth import get_permission_codename

from .admin.read_only import ReadOnlyAdmin

VIEWERS, OPERATORS, ADMINS = "taskq viewers", "taskq operators", "taskq admins"
#: What operators may do besides what viewers may.
_OPERATE = frozenset(
    {
        "view_taskrun_payload",
        "retry_taskrun",
        "revoke_taskrun",
        "terminate_taskrun",
        "move_taskrun",
        "prioritize_taskrun",
        "control_worker",
        "toggle_events",
        "pause_queue",
    }
)
_DELETE = frozenset({"delete_taskrun"})
#: Django's own permission to see its admin log.
_AUDIT = frozenset({"view_logentry"})


def of_groups() -> dict[str, frozenset[str]]:
    """Return the codenames of the permissions of each group, for the pages that the default admin site has."""
    views = frozenset(_views())
    return {VIEWERS: views, OPERATORS: views | _OPERATE, ADMINS: views | _OPERATE | _own() | _DELETE | _AUDIT}


def _views() -> Iterable[str]:
    for pages in admin.site._registry.values():
        if isinstance(pages, ReadOnlyAdmin):
            yield get_permission_codename("view", pages.opts)


def _own() -> frozenset[str]:
    models = apps.get_app_config("taskq").get_models()
    return frozenset(codename for model in models for codename, _ in model._meta.permissions)
