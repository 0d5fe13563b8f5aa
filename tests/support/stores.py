"""The stores of the workflow engine: rows on each database, memory, and eager calls."""

from __future__ import annotations

import pytest

from .databases import VENDORS

_STORES = [*(("rows", vendor) for vendor in VENDORS), ("memory", "sqlite"), ("eager", "sqlite")]
_IDS = [*VENDORS, "memory", "eager"]


def _on(count: int) -> pytest.MarkDecorator:
    # Without this scope each test would get a database of its own, with all migrations.
    return pytest.mark.parametrize(
        ("store", "database"), _STORES[:count], indirect=["database"], ids=_IDS[:count], scope="session"
    )


#: Runs a test that asks for the fixture ``run`` once with each store.
on_every_store = _on(len(_STORES))
#: The same without eager calls, which keep no messages, and where nothing waits that could be revoked.
on_stores_with_messages = _on(len(_STORES) - 1)
