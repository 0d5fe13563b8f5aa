"""What goes wrong in the shop."""

from __future__ import annotations


class CardDeclined(Exception):
    """The bank said no."""


class OutOfStock(LookupError):
    """The shelf is empty."""
