"""``ShortCommand``: a management command that asks, prints and ends."""

from __future__ import annotations

import gc

from django.core.management.base import BaseCommand


class ShortCommand(BaseCommand):
    """A command whose process ends at once behind it."""

    def run_from_argv(self, argv: list[str]) -> None:
        """Run the command of a command line."""
        try:
            super().run_from_argv(argv)
        finally:
            # Python searches all that is loaded for garbage when it exits, which took a quarter of the command's time.
            gc.freeze()
