"""Configurations of a database under which taskq can't work: nothing is committed, or nothing can be written.

Called by the checks and when a worker starts. Only Django's settings are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from django.db.backends.base.base import BaseDatabaseWrapper

_OFF = {"0", "false", "off", "no", "n", "f"}


def problems(connection: BaseDatabaseWrapper) -> list[str]:
    """Return each reason why taskq can't work with the configuration of ``connection``, as a sentence."""
    configured = connection.settings_dict
    options = configured.get("OPTIONS") or {}
    found = list(_OF_VENDOR.get(connection.vendor, _none)(str(configured.get("NAME", "")), options))
    if not configured.get("AUTOCOMMIT", True):
        found.insert(0, "AUTOCOMMIT is off, so that nothing is ever committed.")
    return found


def _none(name: str, options: Mapping[str, Any]) -> Iterator[str]:
    return iter(())


def _of_sqlite(name: str, options: Mapping[str, Any]) -> Iterator[str]:
    # From Python 3.12 on; True and LEGACY_TRANSACTION_CONTROL (-1) leave transactions to Django.
    if "autocommit" in options and not options["autocommit"]:
        yield "autocommit in OPTIONS is off, so that nothing is ever committed."
    pragmas = {key.lower(): value.lower() for key, value in _PRAGMA.findall(str(options.get("init_command") or ""))}
    if pragmas.get("query_only", "off") not in _OFF:
        yield "PRAGMA query_only in OPTIONS refuses every write."
    if pragmas.get("locking_mode") == "exclusive":
        yield "PRAGMA locking_mode=EXCLUSIVE in OPTIONS shuts out every other process."
    if name.startswith("file:"):
        query = parse_qs(urlsplit(name).query)
        if query.get("mode") == ["ro"] or query.get("immutable", ["0"]) != ["0"]:
            yield "NAME opens the file for reading only."


def _of_postgresql(name: str, options: Mapping[str, Any]) -> Iterator[str]:
    given = _READ_ONLY.search(str(options.get("options") or ""))
    if given and given[1].lower() not in _OFF:
        yield "default_transaction_read_only in OPTIONS refuses every write."
    if str(options.get("target_session_attrs")) in {"read-only", "standby"}:
        yield "target_session_attrs in OPTIONS connects to a server that takes no writes."


def _of_mariadb(name: str, options: Mapping[str, Any]) -> Iterator[str]:
    command = str(options.get("init_command") or "").lower()
    if re.search(r"transaction\s+read\s+only|(?:tx|transaction)_read_only\s*=\s*(?:1|on|true)", command):
        yield "init_command in OPTIONS makes transactions read-only, so that every write is refused."
    if str(options.get("isolation_level") or "").lower() == "read uncommitted":
        yield "isolation_level in OPTIONS is 'read uncommitted': results would be read that are never committed."


_PRAGMA = re.compile(r"pragma\s+(\w+)\s*=\s*['\"]?(\w+)", re.IGNORECASE)
_READ_ONLY = re.compile(r"default_transaction_read_only\s*=\s*['\"]?(\w+)", re.IGNORECASE)
_OF_VENDOR = {"sqlite": _of_sqlite, "postgresql": _of_postgresql, "mysql": _of_mariadb}
