"""The pools by the name that ``--pool`` takes, each in a module of its own, which is loaded when it is asked for."""

from __future__ import annotations

from importlib import import_module

from .base import Pool

#: Module and class of each pool.
POOLS = {
    "prefork": ("prefork", "PreforkPool"),
    "threads": ("threads", "ThreadsPool"),
    "solo": ("solo", "SoloPool"),
    "asyncio": ("asyncio_pool", "AsyncioPool"),
    "gevent": ("green_pool", "GeventPool"),
    "eventlet": ("green_pool", "EventletPool"),
}


def pool_class(name: str) -> type[Pool]:
    """Return the class of the pool with this name; ``ValueError`` for an unknown one."""
    if name not in POOLS:
        raise ValueError(f"There is no pool {name!r}: --pool takes {', '.join(POOLS)}.")
    module, cls = POOLS[name]
    found: type[Pool] = getattr(import_module(f"{__package__}.{module}"), cls)
    return found
