"""Errors: which database errors kombu may retry, and AMQP's errors for wrong declarations.

kombu repeats an operation when the transport calls its error recoverable. Inside ``atomic()``
nothing can be repeated, and a missing table stays missing. So only a transient error outside
of a transaction is raised as ``BrokerUnavailable``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from amqp.exceptions import NotFound, PreconditionFailed  # type: ignore[import-untyped, unused-ignore]
from django.db import InterfaceError, OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

__all__ = ["BrokerUnavailable", "failed", "not_found", "otherwise", "recoverable"]


class BrokerUnavailable(OperationalError):
    """The database can't be reached, or is busy; another attempt may succeed."""


@contextmanager
def recoverable(alias: str) -> Iterator[None]:
    """Run operations on ``alias``; replace the calling thread's connection if it is broken.

    Raises ``BrokerUnavailable`` for an error that another attempt may cure, any other error as it is.
    """
    connection = connections[alias]
    if connection.in_atomic_block:
        yield
        return
    if connection.errors_occurred:
        _was_broken(connection)
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        if not _may_pass(alias, error):
            raise
        raise BrokerUnavailable(*error.args) from error


def _may_pass(alias: str, error: Exception) -> bool:
    from taskq.engines import for_alias

    return _was_broken(connections[alias]) or for_alias(alias).is_transient(error)


def _was_broken(connection: BaseDatabaseWrapper) -> bool:
    """Tell whether a connection is broken, and close it then; the next operation opens another."""
    if connection.connection is not None and connection.is_usable():
        connection.errors_occurred = False
        return False
    connection.close()
    return True


def not_found(kind: str, name: str, method: str) -> NotFound:
    """Return AMQP's error 404: a queue or an exchange was not declared."""
    return NotFound(f"NOT_FOUND - no {kind} {name!r}: declare it first", (50, 10), f"Channel.{method}")


def failed(kind: str, name: str, what: str, method: str) -> PreconditionFailed:
    """Return AMQP's error 406: a queue or an exchange ``what``."""
    return PreconditionFailed(f"PRECONDITION_FAILED - {kind} {name!r} {what}", (50, 10), f"Channel.{method}")


def otherwise(options: list[str]) -> str:
    """Return the text of ``what`` for an entity that exists with other values of ``options``."""
    return f"was declared with another {', '.join(options)}: declare it alike, or delete it first"
