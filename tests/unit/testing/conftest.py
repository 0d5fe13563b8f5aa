"""The plugin's fixtures by import: its entry point is there only where taskq is installed."""

from __future__ import annotations

from taskq.testing.pytest_plugin import taskq_eager, taskq_inline, taskq_memory, taskq_sent, taskq_worker

__all__ = ["taskq_eager", "taskq_inline", "taskq_memory", "taskq_sent", "taskq_worker"]
