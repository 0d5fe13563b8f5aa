"""Pages as JSON: ``?format=json``, under the permissions of the page."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, JsonResponse

FORMAT = "format"


def wants_json(request: HttpRequest) -> bool:
    """Tell whether the address asks for JSON."""
    return request.GET.get(FORMAT) == "json"


def format_of(request: HttpRequest) -> dict[str, str]:
    """Return the parameter of another address that keeps the answer JSON, if this one asks for it."""
    return {FORMAT: "json"} if wants_json(request) else {}


def as_json(data: Any, status: int = 200) -> JsonResponse:
    """Answer with plain values; times become ISO 8601, translated texts the user's language."""
    return JsonResponse(data, safe=False, status=status)
