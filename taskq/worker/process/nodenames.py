"""Names of nodes and of their files: ``name@host``, and the ``%`` expansions."""

from __future__ import annotations

import re
import socket
from functools import cache

from taskq.conf import settings

_NODE = re.compile(r"[^@\s\x00-\x1f]+@[^@\s\x00-\x1f]+")


@cache
def hostname() -> str:
    """Return this machine's full name."""
    return socket.gethostname()


def expand(template: str, nodename: str, process: int = 0) -> str:
    """Expand ``%h`` host, ``%n`` name, ``%d`` domain, ``%p`` full node name, ``%i`` and ``%I`` process, ``%%``.

    ``%i`` is the number of the pool's process, 0 in the main one; ``%I`` is the same
    with a dash before it, and nothing in the main one.
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
    """Return the node's name for ``-n``: ``w1``, ``w1@%h``, ``w1@host`` or nothing, which is ``<namespace>@<host>``.

    There is no name yet that ``%n`` could mean, so here it is the host's, without its
    domain, as in Celery: ``w1@%n``. In the names of files it is the node's. Raises
    ``ValueError`` for what is not ``name@host``, or longer than its column.
    """
    template = settings.NAMESPACE if given is None else given
    if "@" not in template:
        template += "@%h"
    host = hostname()
    name = expand(template, f"{host.partition('.')[0]}@{host}")
    if not _NODE.fullmatch(name) or len(name) > 255:
        raise ValueError(f"-n: {name!r:.300} is not the name of a node, such as w1 or w1@host.")
    return name
