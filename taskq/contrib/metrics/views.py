"""The view of the metrics: for those who have the token of ``TASKQ_METRICS_TOKEN``, and for staff who may see all."""

from __future__ import annotations

from django.contrib.auth.decorators import login_not_required
from django.db import Error
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from taskq.conf import settings
from taskq.metrics.cluster import families
from taskq.metrics.exposition import CONTENT_TYPE, render

#: What the metrics show: names of tasks and queues, and how many workers there are.
_PERMISSIONS = ("taskq.view_taskrun", "taskq.view_message", "taskq.view_worker")
_TEXT = "text/plain; charset=utf-8"


@login_not_required
@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Return the figures of the cluster in Prometheus' text format.

    401 without a right token or a user, 403 for a user who may not see them, 503 while the database does not answer.
    """
    if not (_has_token(request) or _is_permitted(request)):
        return _refusal(request)
    try:
        return HttpResponse(render(families()), content_type=CONTENT_TYPE)
    except Error:
        # The driver's text may have the host and the user of the database.
        return HttpResponse("The database does not answer.\n", status=503, content_type=_TEXT)


def _has_token(request: HttpRequest) -> bool:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    token = settings.METRICS_TOKEN
    return bool(token) and scheme.lower() == "bearer" and constant_time_compare(given.strip(), token or "")


def _is_permitted(request: HttpRequest) -> bool:
    user = getattr(request, "user", None)  # without the middleware of authentication there is none
    return user is not None and user.is_active and user.is_staff and user.has_perms(_PERMISSIONS)


def _refusal(request: HttpRequest) -> HttpResponse:
    if getattr(getattr(request, "user", None), "is_authenticated", False):
        needed = f"This needs a staff user with {', '.join(_PERMISSIONS)}.\n"
        return HttpResponse(needed, status=403, content_type=_TEXT)
    refused = HttpResponse("This needs a token, or a user.\n", status=401, content_type=_TEXT)
    refused.headers["WWW-Authenticate"] = "Bearer"
    return refused
