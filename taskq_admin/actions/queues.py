"""Queues: pause, resume, purge. Its actions are registered with ``base.register``."""

from __future__ import annotations
