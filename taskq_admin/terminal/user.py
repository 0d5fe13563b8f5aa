"""Who sits at the terminal."""

from __future__ import annotations

from getpass import getuser


def user() -> str:
    """Return the name of the user of this machine, empty if there is none."""
    try:
        return getuser()
    except (KeyError, OSError):
        return ""
