"""Tasks that log."""

from __future__ import annotations

import logging

from taskq import get_task_logger, task

from .notes import note_line, wait_for

logger = get_task_logger(__name__)
own = logging.getLogger("shop.mail")


@task
def chat(path: str = "", go_on: str = "") -> None:
    """Log two lines, note that, and wait."""
    _chat(path, go_on)


@task
async def chat_async(path: str = "", go_on: str = "") -> None:
    """Do the same on an event loop."""
    _chat(path, go_on)


def _chat(path: str, go_on: str) -> None:
    logger.info("begins")
    own.warning("is slow")
    if path:
        note_line(path, "began")
        wait_for(go_on)


@task(autoretry_for=(LookupError,), max_retries=1, default_retry_delay=0)
def chat_and_fail() -> None:
    """Log a line in each of two attempts."""
    own.info("fails")
    raise LookupError("nobody is there")
