"""The pools by the name that ``--pool`` takes, each in a module of its own, which is loaded when it is asked for."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import TYPE_CHECKING

from django.core.exceptions import ImproperlyConfigured

from taskq.conf import settings
from taskq.dotted import load_class

if TYPE_CHECKING:
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
#: The pool that ``TASKQ_CUSTOM_POOL`` names.
CUSTOM = "custom"

#: The pools that run tasks in processes of their own, for messages.
WITH_CHILDREN = "prefork, asyncio, gevent or eventlet"


def pool_class(name: str) -> type[Pool]:
    """Return the class of the pool with this name.

    Raises ``ValueError`` for an unknown name, ``ImproperlyConfigured`` if ``TASKQ_CUSTOM_POOL`` names no pool.
    """
    if name == CUSTOM:
        return _custom_pool(settings.CUSTOM_POOL)
    if name not in POOLS:
        raise ValueError(f"There is no pool {name!r}: --pool takes {', '.join([*POOLS, CUSTOM])}.")
    module, cls = POOLS[name]
    found: type[Pool] = getattr(import_module(f"{__package__}.{module}"), cls)
    return found


def _custom_pool(path: str | None) -> type[Pool]:
    from .base import Pool

    if not path:
        raise ImproperlyConfigured("The pool custom needs TASKQ_CUSTOM_POOL = 'package.module:Class'.")
    found = load_class("TASKQ_CUSTOM_POOL", path)
    if not issubclass(found, Pool):
        raise ImproperlyConfigured(
            f"TASKQ_CUSTOM_POOL names {path!r}, which is no pool: it has to be a subclass of {Pool.__module__}.Pool."
        )
    if inspect.isabstract(found):
        missing = ", ".join(sorted(found.__abstractmethods__))
        raise ImproperlyConfigured(f"TASKQ_CUSTOM_POOL names {path!r}, which lacks methods of a pool: {missing}.")
    return found
