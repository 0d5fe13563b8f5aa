"""Tasks: retry, revoke, move, delete. Its actions are registered with ``base.register``."""

from __future__ import annotations
