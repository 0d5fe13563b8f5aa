"""Tells whether a connection is in a transaction, by its driver's status: Django does not know of ``BEGIN`` by SQL.

Called between tasks for each open connection of the project, also to databases that taskq has no engine for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db import InterfaceError
from django.db.backends.base.base import BaseDatabaseWrapper

#: ``PQtransactionStatus`` of libpq: idle, and a connection that is broken.
_IDLE, _BROKEN = 0, 4


def in_transaction(connection: BaseDatabaseWrapper) -> bool:
    """Tell whether the open ``connection`` is in a transaction. Raises an error if it is broken or out of step.

    This costs a query on MariaDB only, whose driver does not tell.
    """
    status = _STATUS.get(connection.vendor)
    return status is not None and status(connection)


def _postgresql(connection: BaseDatabaseWrapper) -> bool:
    raw: Any = connection.connection
    # psycopg 3, or psycopg2.
    status = raw.pgconn.transaction_status if hasattr(raw, "pgconn") else raw.info.transaction_status
    if status == _BROKEN:
        raise InterfaceError("the connection is broken")
    return bool(status != _IDLE)


def _sqlite(connection: BaseDatabaseWrapper) -> bool:
    raw: Any = connection.connection
    return bool(raw.in_transaction)


def _mysql(connection: Any) -> bool:
    raw = connection.connection
    if not raw.get_autocommit():
        return True
    if not connection.mysql_is_mariadb:
        # MySQL does not tell. To end a transaction takes as long as the question.
        raw.rollback()
        return False
    raw.query("SELECT @@in_transaction")
    return bool(int(raw.store_result().fetch_row()[0][0]))


_STATUS: dict[str, Callable[[Any], bool]] = {"postgresql": _postgresql, "sqlite": _sqlite, "mysql": _mysql}
