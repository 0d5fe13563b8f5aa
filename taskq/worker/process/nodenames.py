"""Node names, ``name@host``, and the ``%`` expansions in them and in names of files."""

from __future__ import annotations

import re
import socket
from functools import cache

from taskq.conf import settings

#: No commas: they stand between the names of --destination, and of the selections of taskmulti.
_NODE = re.compile(r"[^@,\s\x00-\x1f]+@[^@,\s\x00-\x1f]+")


@cache
def hostname() -> str:
    """Return this machine's full name."""
    return socket.gethostname()


def expand(template: str, nodename: str, process: int = 0) -> str:
    """Expand ``%h`` host, ``%n`` name, ``%d`` domain, ``%p`` full node name, ``%i`` and ``%I`` process, ``%%``.

    ``%i`` is the number of the child, and 0 in the main process; ``%I`` is a dash and
    the same number, and nothing in the main process.
    """
    name, _, host = nodename.partition("@")
    values = {
        "h": host,
        "n": name,
        "d": host.partition(".")[2],
        "p": nodename,
        "i": str(process),
        "I": f"-{process}" if process else "",
        "%": "%",
    }
    return re.sub(r"%(.)", lambda match: values.get(match[1], match[0]), template)


def node_name(given: str | None) -> str:
    """Return the node's name for ``-n``: ``w1``, ``w1@%h`` or ``w1@host``. The default is ``<namespace>@<host>``.

    ``%n`` in ``-n`` is the host's name without its domain, as in Celery: ``w1@%n``. In names of files it is the node's
    name. Raises ``ValueError`` if the result is not ``name@host``, has a comma, or is longer than its column.
    """
    template = settings.NAMESPACE if given is None else given
    if "@" not in template:
        template += "@%h"
    host = hostname()
    name = expand(template, f"{host.partition('.')[0]}@{host}")
    if not _NODE.fullmatch(name) or len(name) > 255:
        where = "TASKQ_NAMESPACE" if given is None else "-n"
        raise ValueError(
            f"{where}: {name!r:.300} is not the name of a node, such as w1 or w1@host, "
            "without commas, blanks or a second @."
        )
    return name
