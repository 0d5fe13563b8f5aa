"""Turns a database URL into a Django configuration that suits a task queue.

Called by the settings and by the tests, so that both connect alike.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import environ

#: WAL lets the site read while a worker writes; a transaction that takes its write lock
#: at once waits for its turn instead of failing in the middle with "database is locked".
SQLITE_OPTIONS = {
    "timeout": 20,
    "transaction_mode": "IMMEDIATE",
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
}


def configure(url: str, conn_max_age: int = 0) -> dict[str, Any]:
    """Return the entry of ``DATABASES`` for ``url``; ``conn_max_age`` is in seconds."""
    config: dict[str, Any] = environ.Env.db_url_config(url)
    config["CONN_MAX_AGE"] = conn_max_age
    config["CONN_HEALTH_CHECKS"] = conn_max_age > 0
    if config["ENGINE"].endswith("sqlite3"):
        config["OPTIONS"] = {**SQLITE_OPTIONS, **config.get("OPTIONS", {})}
        if (name := Path(config["NAME"])).name != ":memory:":
            # In memory, Django's default, threads can't wait for each other: a test's worker needs a file.
            config["TEST"] = {"NAME": str(name.with_name(f"test_{name.name}"))}
    return config
