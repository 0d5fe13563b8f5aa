"""Patterns of topic exchanges. Source: AMQP 0-9-1, section 3.1.3.3."""

from __future__ import annotations

import re
from functools import lru_cache


def topic_matches(pattern: str, routing_key: str) -> bool:
    """Tell whether a topic's pattern matches: ``*`` is one word, ``#`` is zero or more words."""
    return _compiled(pattern).fullmatch("." + routing_key) is not None


_WORDS = {"*": r"\.[^.]*", "#": r"(?:\.[^.]*)*"}


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    # Every word is matched with the dot before it: "#" may match no word and no dot.
    return re.compile("".join(_WORDS.get(word, r"\." + re.escape(word)) for word in pattern.split(".")))
