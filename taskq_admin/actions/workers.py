"""Workers: what remote control can have them do. Its actions are registered with ``base.register``."""

from __future__ import annotations
