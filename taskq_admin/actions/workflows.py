"""Workflows: retry and revoke the whole, or from a node. Its actions are registered with ``base.register``."""

from __future__ import annotations
