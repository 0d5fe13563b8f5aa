"""The first code of a fresh Python of a pool, run as a script: an import of any module of taskq would import Django.

It does what has to come before that: it reads its brief, from the descriptor that its argument names, sets the paths,
and has gevent or eventlet patch the standard library if it will be a child with greenlets. ``fresh`` goes on.
``interpreter`` starts it.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from importlib import import_module


def main(brief_fd: int) -> None:
    """Become the process that the brief describes."""
    with open(brief_fd, encoding="utf-8") as file:
        brief = json.load(file)
    sys.path[:] = brief.pop("path")
    sys.argv[:] = brief.pop("argv")
    if library := brief.pop("library", None):
        _patch(library)
    import_module("taskq.worker.pools.fresh").become(brief)


def _patch(library: str) -> None:
    """Have everything that waits let other greenlets run."""
    if library == "gevent":
        import_module("gevent.monkey").patch_all()
        return
    # psycopg does not notice eventlet by itself.
    os.environ.setdefault("PSYCOPG_WAIT_FUNC", "wait_selector")
    with warnings.catch_warnings():
        # The main process has warned.
        warnings.simplefilter("ignore")
        # Not os: its read() would wait where taskq's pipes must not.
        import_module("eventlet").monkey_patch(os=False)


if __name__ == "__main__":
    main(int(sys.argv[1]))
