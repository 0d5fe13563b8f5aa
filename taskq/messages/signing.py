"""Seals (HMAC) of messages and of texts in rows, while ``TASKQ_SIGNING`` is on. Pure functions.

``protocol.sealing`` seals messages with ``mac``. Texts in rows are written by ``seal_text``, ``seal_value`` or
``seal_word``, and read by ``open_text``, ``open_value`` or ``open_word``, which raise an error if the text was altered.
Keys are Django's ``SECRET_KEY`` and, for reading, ``SECRET_KEY_FALLBACKS``.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator

from django.conf import settings as django_settings
from django.utils.crypto import constant_time_compare, salted_hmac

from taskq.conf import settings
from taskq.exceptions import SignatureMismatch

__all__ = [
    "HEADER",
    "is_mac",
    "mac",
    "open_text",
    "open_value",
    "open_word",
    "plain_type",
    "seal_text",
    "seal_value",
    "seal_word",
]

#: The header with the seal of a message.
HEADER = "taskq_signature"

_SALT = "taskq.messages.signing"
#: A sealed text begins so. Neither JSON nor base64 does.
_SEALED = re.compile(r"sealed:([0-9a-f]{64}):")
#: The parameter of a value's content type that has its seal.
_PARAMETER = ";mac="
#: The characters of a value's seal, 6 bits each: the column of the content type has 64 characters.
_VALUE_SEAL_LENGTH = 20
#: The characters of a word's seal. An attacker has to let a worker try each guess, so 66 bits are enough.
_WORD_SEAL_LENGTH = 11


def mac(purpose: str, facts: object, content: str | bytes) -> str:
    """Return the seal of ``content`` and ``facts`` (plain data). A seal for another ``purpose`` is another one."""
    return _mac(_material(purpose, facts, content), None)


def is_mac(given: str, purpose: str, facts: object, content: str | bytes) -> bool:
    """Tell whether ``given`` is what ``mac`` returns, by ``SECRET_KEY`` or a key in ``SECRET_KEY_FALLBACKS``."""
    return _is_any(given, _macs(_material(purpose, facts, content)))


def _material(purpose: str, facts: object, content: str | bytes) -> bytes:
    body = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    return json.dumps([purpose, facts], sort_keys=True).encode() + b"\0" + body


def _mac(material: bytes, secret: str | bytes | None) -> str:
    return salted_hmac(_SALT, material, secret=secret, algorithm="sha256").hexdigest()


def _macs(material: bytes) -> Iterator[str]:
    for secret in (django_settings.SECRET_KEY, *django_settings.SECRET_KEY_FALLBACKS):
        yield _mac(material, secret)


def _is_any(given: str, macs: Iterator[str]) -> bool:
    return any(constant_time_compare(given, own) for own in macs)


# -- texts in rows


def seal_text(purpose: str, text: str, *about: str) -> str:
    """Return ``text`` as it is stored: with its seal in front, or unchanged while ``TASKQ_SIGNING`` is off.

    Args:
        purpose: the name of the column, as ``"group.body"``: a text of another column is refused.
        text: any text.
        about: the ids that the text belongs to: a text of another row is refused.

    Example:
        >>> row.body = seal_text("group.body", body, group_id)  # doctest: +SKIP
    """
    return f"sealed:{mac(purpose, about, text)}:{text}" if settings.SIGNING else text


def open_text(purpose: str, stored: str, *about: str) -> str:
    """Return the text that ``seal_text`` has stored with the same ``purpose`` and ``about``.

    While ``TASKQ_SIGNING`` is off, nothing is verified, and a seal from before is taken off.

    Raises:
        SignatureMismatch: the text has no seal, or was altered, or belongs to another row.
    """
    found = _SEALED.match(stored)
    text = stored[found.end() :] if found else stored
    if settings.SIGNING and not (found and is_mac(found[1], purpose, about, text)):
        raise SignatureMismatch(
            f"The stored {purpose} of {'/'.join(about)} was altered, or is not sealed by SECRET_KEY "
            "or a key in SECRET_KEY_FALLBACKS, and TASKQ_SIGNING is on."
        )
    return text


# -- values in rows: their seals are in their content types, so that the text stays readable


def plain_type(content_type: str) -> str:
    """Return a stored content type without its seal."""
    return content_type.partition(_PARAMETER)[0]


def seal_value(content_type: str, text: str | None, *about: str) -> str:
    """Return the content type of a stored value with a seal: of the value, its type, and the ids ``about`` it.

    While ``TASKQ_SIGNING`` is off, there is no seal.
    """
    plain = plain_type(content_type)
    if not settings.SIGNING:
        return plain
    return f"{plain}{_PARAMETER}{_value_seal(mac('value', [plain, text is None, about], text or ''))}"


def open_value(content_type: str, text: str | None, *about: str) -> str:
    """Return the plain content type of a stored value.

    Raises:
        SignatureMismatch: ``TASKQ_SIGNING`` is on, and the value has no seal, or it or its type was altered.
    """
    plain, _, given = content_type.partition(_PARAMETER)
    if settings.SIGNING:
        material = _material("value", [plain, text is None, about], text or "")
        if not _is_any(given, map(_value_seal, _macs(material))):
            raise SignatureMismatch(
                f"The stored value of {'/'.join(about)} was altered, or is not sealed by SECRET_KEY "
                "or a key in SECRET_KEY_FALLBACKS, and TASKQ_SIGNING is on."
            )
    return plain


def _value_seal(digest: str) -> str:
    return base64.urlsafe_b64encode(bytes.fromhex(digest)).decode()[:_VALUE_SEAL_LENGTH]


# -- whole rows: the seal is behind a word in one of their columns


def seal_word(purpose: str, word: str, *about: str) -> str:
    """Return ``word`` as it is stored: with a seal behind it, or unchanged while ``TASKQ_SIGNING`` is off.

    Args:
        purpose: the name of the table: a word of another table is refused.
        word: a word without a colon; the seal takes 12 more characters of the column.
        about: the other columns that the seal covers.

    Example:
        >>> row.kind = seal_word("node", "task", row.task_id, row.group_id)  # doctest: +SKIP
    """
    return f"{word}:{_word_seal(mac(purpose, about, word))}" if settings.SIGNING else word


def open_word(purpose: str, stored: str, *about: str) -> str:
    """Return the word that ``seal_word`` has stored with the same ``purpose`` and ``about``.

    While ``TASKQ_SIGNING`` is off, nothing is verified, and a seal from before is taken off.

    Raises:
        SignatureMismatch: the word has no seal, or it or a column that the seal covers was altered.
    """
    word, _, given = stored.partition(":")
    if settings.SIGNING and not _is_any(given, map(_word_seal, _macs(_material(purpose, about, word)))):
        raise SignatureMismatch(
            f"The stored {purpose} of {about[0]} was altered, or is not sealed by SECRET_KEY "
            "or a key in SECRET_KEY_FALLBACKS, and TASKQ_SIGNING is on."
        )
    return word


def _word_seal(digest: str) -> str:
    return _value_seal(digest)[:_WORD_SEAL_LENGTH]
