"""The address of the documentation, for hints of checks and errors.

The wheel brings the pages along, so that a hint names a page that every user can open. In a checkout the pages are in
the folder ``docs`` of the repository. A copy of the pages on the web would be named here and nowhere else.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["ADDRESS", "page"]

_PACKAGE = Path(__file__).resolve().parent

#: The folder of the pages.
ADDRESS = str(_PACKAGE / "docs" if (_PACKAGE / "docs").is_dir() else _PACKAGE.parent / "docs")


def page(name: str) -> str:
    """Return the address of a page: ``page("reference/settings")``."""
    return f"{ADDRESS}/{name}.md"
