"""The link that ``make demo`` prints, which logs its reader in. It needs ``DEMO_LOGIN``, and ``DEBUG``."""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth import get_user_model, login
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.crypto import constant_time_compare
from django.views.decorators.http import require_GET

#: The user that the demo makes.
USER = "demo"
_HERE = {"127.0.0.1", "::1"}


@require_GET
def enter(request: HttpRequest, key: str) -> HttpResponse:
    """Log in as the user of the demo, from this machine, with the key that it printed; 404 for all others."""
    known = settings.DEBUG and settings.DEMO_LOGIN and constant_time_compare(key, settings.DEMO_LOGIN)
    if not known or request.META.get("REMOTE_ADDR") not in _HERE:
        raise Http404
    user = get_user_model().objects.get(username=USER)
    login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    return redirect("admin:app_list", app_label="taskq")
