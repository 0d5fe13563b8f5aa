"""Print ``docs/reference/checks.md``: ``python -m taskq.checks``."""

from __future__ import annotations

import sys

from . import reference

sys.stdout.writelines(f"{line}\n" for line in reference())
