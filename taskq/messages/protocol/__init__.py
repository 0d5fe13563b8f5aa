"""A task as a message: Celery's protocol 2, built and read.

Senders call ``build`` for each message, workers ``read_headers``; both are pure. A worker routes, refuses,
expires and delays a message by its headers alone: ``decode_body`` reads the body where the task runs.
"""

from __future__ import annotations

from .build import build, origin, reply_queue
from .options import MessageOptions, expiration
from .read import MOST_IN_MAIN, MOST_OUTSIDE, TaskHeaders, decode_body, decode_message, load_body, read_headers, upgrade
from .retry import retry_envelope
from .sealing import StoredMessage, seal, verify
from .wire import EMBED, HEADERS, RawMessage, ReceivedMessage, mapping_of

__all__ = [
    "EMBED",
    "HEADERS",
    "MOST_IN_MAIN",
    "MOST_OUTSIDE",
    "MessageOptions",
    "RawMessage",
    "ReceivedMessage",
    "StoredMessage",
    "TaskHeaders",
    "build",
    "decode_body",
    "decode_message",
    "expiration",
    "load_body",
    "mapping_of",
    "origin",
    "read_headers",
    "reply_queue",
    "retry_envelope",
    "seal",
    "upgrade",
    "verify",
]
