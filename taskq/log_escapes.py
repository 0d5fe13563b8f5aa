"""Loggers for taskq's own lines: each line is one line, and prints nothing but its text.

Names, ids, reasons and exceptions come from messages, which others may have written. A newline in them would begin a
forged line, an escape sequence would act on the terminal, and a direction mark would turn the rest of the line around.
Every module that logs takes its logger from here, so this holds under any ``LOGGING`` of the project.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from textwrap import indent
from unicodedata import category

from taskq.containment import contained

__all__ = ["escaped", "get_logger"]

#: Control characters, invisible formatting such as direction marks, line and paragraph separators, halves of pairs.
_ESCAPED = frozenset({"Cc", "Cf", "Zl", "Zp", "Cs"})
#: At most this many exceptions are looked at: causes may form a cycle.
_MOST_CAUSES = 100


def escaped(text: str, but: str = "") -> str:
    """Return ``text`` with backslash escapes for all characters that do more than print, ``but`` for these."""
    if text.isprintable():
        return text
    return "".join(
        each.encode("unicode_escape").decode() if category(each) in _ESCAPED and each not in but else each
        for each in text
    )


def get_logger(name: str) -> logging.Logger:
    """Return the logger ``name``, with the filter that escapes its lines."""
    logger = logging.getLogger(name)
    logger.addFilter(_escape)
    return logger


class _Escape(logging.Filter):
    """Escapes the text of a record, and the traceback of its exception but for newlines and tabs.

    A traceback keeps its lines. If the text of an exception has several, the traceback is indented: no line of it can
    be taken for a line of the log.

    A filter of the logger, not a formatter: handlers and formatters are the project's. A record without such
    characters is left as it is, with its arguments.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep the record. Never raises: a text that can't be made is the handler's to report."""
        try:
            text = record.getMessage()
            if (line := escaped(text)) is not text and line != text:
                record.msg, record.args = line, None
            if record.exc_info and record.exc_info[1] is not None and _is_unsafe(record.exc_info[1]):
                text = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
                record.exc_text = indent(escaped(text, "\n\t"), "  ")
        except contained():
            pass
        return True


_escape = _Escape()


def _is_unsafe(error: BaseException) -> bool:
    for each in _chain(error):
        text = "".join(traceback.format_exception_only(each)).rstrip("\n")
        if escaped(text, "\t") != text:
            return True
    return False


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception, its causes, and the members of groups."""
    left, seen = [error], 0
    while left and seen < _MOST_CAUSES:
        each = left.pop()
        seen += 1
        yield each
        left += [cause for cause in (each.__cause__, each.__context__) if cause is not None]
        if isinstance(each, BaseExceptionGroup):
            left += each.exceptions
