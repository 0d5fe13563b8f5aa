"""The seal of a message while ``TASKQ_SIGNING`` is on.

``protocol`` signs what it builds and checks what it reads. A seal covers the
body as encoded (before compression and base64, so that it survives brokers that
change those), and the headers that decide which task runs, when, and as what.
Keys are Django's ``SECRET_KEY`` and, for reading, ``SECRET_KEY_FALLBACKS``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from django.conf import settings as django_settings
from django.utils.crypto import constant_time_compare, salted_hmac

from taskq.exceptions import SignatureMismatch

#: The header that carries the seal.
HEADER = "taskq_signature"

_SALT = "taskq.messages.signing"
_SEALED = ("task", "id", "eta", "expires", "retries")


def _digest(headers: Mapping[str, Any], payload: str | bytes, content_type: str, secret: str | bytes | None) -> str:
    facts = json.dumps([content_type, *(headers.get(name) for name in _SEALED)], default=str)
    body = payload.encode("utf-8", "surrogatepass") if isinstance(payload, str) else payload
    return salted_hmac(_SALT, facts.encode() + b"\0" + body, secret=secret, algorithm="sha256").hexdigest()


def sign(headers: dict[str, Any], payload: str | bytes, content_type: str) -> None:
    """Put the seal of ``payload`` and ``headers`` into ``headers``."""
    headers[HEADER] = _digest(headers, payload, content_type, None)


def verify(headers: Mapping[str, Any], payload: str | bytes, content_type: str) -> None:
    """Raise ``SignatureMismatch`` unless ``headers`` hold the seal of this message.

    ``payload`` is the body without compression and base64.
    """
    seal = headers.get(HEADER)
    name = headers.get("task")
    if not isinstance(seal, str):
        raise SignatureMismatch(f"The message for {name} is not signed, and TASKQ_SIGNING is on.")
    for secret in (django_settings.SECRET_KEY, *django_settings.SECRET_KEY_FALLBACKS):
        if constant_time_compare(seal, _digest(headers, payload, content_type, secret)):
            return
    raise SignatureMismatch(
        f"The message for {name} was altered, or signed with a key that is not SECRET_KEY or in SECRET_KEY_FALLBACKS."
    )
