"""The stores of the workflow engine: rows on each database, memory, and eager calls."""

from __future__ import annotations

import pytest

from .databases import VENDORS

_STORES = [*(("rows", vendor) for vendor in VENDORS), ("memory", "sqlite"), ("eager", "sqlite")]
_IDS = [*VENDORS, "memory", "eager"]
#: Runs a test that asks for the fixture ``run`` once with each store.
on_every_store = pytest.mark.parametrize(("store", "database"), _STORES, indirect=["database"], ids=_IDS)
