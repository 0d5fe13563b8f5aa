"""Signs messages (HMAC) while ``TASKQ_SIGNING`` is on. Called by ``protocol``, which builds and reads them.

The signature covers the encoded body (compressed, so that it is verified before the body is opened, but without base64,
which brokers may change), its content type, and the headers for name, id, times and retries. Keys are Django's
``SECRET_KEY`` and, for reading, ``SECRET_KEY_FALLBACKS``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from django.conf import settings as django_settings
from django.utils.crypto import constant_time_compare, salted_hmac

from taskq.exceptions import SignatureMismatch

#: The header with the signature.
HEADER = "taskq_signature"

_SALT = "taskq.messages.signing"
_SIGNED_HEADERS = ("task", "id", "eta", "expires", "retries")


def _digest(headers: Mapping[str, Any], payload: str | bytes, content_type: str, secret: str | bytes | None) -> str:
    facts = json.dumps([content_type, *(headers.get(name) for name in _SIGNED_HEADERS)], default=str)
    body = payload.encode("utf-8", "surrogatepass") if isinstance(payload, str) else payload
    return salted_hmac(_SALT, facts.encode() + b"\0" + body, secret=secret, algorithm="sha256").hexdigest()


def sign(headers: dict[str, Any], payload: str | bytes, content_type: str) -> None:
    """Add the signature of ``payload`` and ``headers`` to ``headers``."""
    headers[HEADER] = _digest(headers, payload, content_type, None)


def verify(headers: Mapping[str, Any], payload: str | bytes, content_type: str) -> None:
    """Raise ``SignatureMismatch`` unless ``headers`` sign ``payload``, the body without base64."""
    signature = headers.get(HEADER)
    name = headers.get("task")
    if not isinstance(signature, str):
        raise SignatureMismatch(f"The message for {name} is not signed, and TASKQ_SIGNING is on.")
    for secret in (django_settings.SECRET_KEY, *django_settings.SECRET_KEY_FALLBACKS):
        if constant_time_compare(signature, _digest(headers, payload, content_type, secret)):
            return
    raise SignatureMismatch(
        f"The message for {name} was altered, or signed with a key that is not SECRET_KEY or in SECRET_KEY_FALLBACKS."
    )
