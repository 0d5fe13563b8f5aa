from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from django.db import InterfaceError

from taskq.engines.sessions import in_transaction


def _postgresql(status: int) -> Any:
    return SimpleNamespace(pgconn=SimpleNamespace(transaction_status=status))


@pytest.mark.parametrize(("status", "expected"), [(0, False), (1, True), (2, True), (3, True)])
def test_postgresql_connection_is_idle_only_if_libpq_says_so(status: int, expected: bool) -> None:
    for raw in (_postgresql(status), SimpleNamespace(info=SimpleNamespace(transaction_status=status))):
        assert in_transaction(SimpleNamespace(vendor="postgresql", connection=raw)) is expected  # type: ignore[arg-type]


def test_broken_postgresql_connection_is_an_error() -> None:
    with pytest.raises(InterfaceError):
        in_transaction(SimpleNamespace(vendor="postgresql", connection=_postgresql(4)))  # type: ignore[arg-type]


def test_mysql_is_rolled_back_instead_of_asked() -> None:
    calls: list[str] = []
    raw = SimpleNamespace(get_autocommit=lambda: True, rollback=lambda: calls.append("rollback"))
    assert not in_transaction(SimpleNamespace(vendor="mysql", mysql_is_mariadb=False, connection=raw))  # type: ignore[arg-type]
    assert calls == ["rollback"]


def test_database_that_can_not_be_asked_counts_as_idle() -> None:
    assert not in_transaction(SimpleNamespace(vendor="oracle", connection=object()))  # type: ignore[arg-type]
