"""The first code of a fresh Python of a pool, run as a script: an import of any module of taskq would import Django.

It does what has to come before that: it reads its brief, from the descriptor that its argument names, and sets the
paths. ``fresh`` goes on. ``interpreter`` starts it.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module


def main(brief_fd: int) -> None:
    """Become the process that the brief describes."""
    with open(brief_fd, encoding="utf-8") as file:
        brief = json.load(file)
    sys.path[:] = brief.pop("path")
    sys.argv[:] = brief.pop("argv")
    import_module("taskq.worker.pools.fresh").become(brief)


if __name__ == "__main__":
    main(int(sys.argv[1]))
