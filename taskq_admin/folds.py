"""Indented JSON with folds: what is nested deeply is closed until the reader opens it."""

from __future__ import annotations

import re

from django.utils.html import escape
from django.utils.safestring import SafeString

#: A list or object is a fold in every so many levels, in a text of more than so many lines.
LEVELS, LINES = 6, 60
# In JSON that is indented by two, only brackets that have a partner stand at the end or at the start of a line.
_OPENS = re.compile(r"^((?:%s)+(?! ).*[\[{])\n" % (" " * 2 * LEVELS), re.MULTILINE)
_CLOSES = re.compile(r"^((?:%s)+[\]}],?(?:\n|\Z))" % (" " * 2 * LEVELS), re.MULTILINE)


def folded(text: str) -> SafeString:
    """Return JSON that ``json`` has indented by two, or the start of it, as HTML for a ``<pre>``.

    A fold is a ``<details>``, which needs no script. Without its tags the HTML is the text itself, so that what a
    reader copies is JSON.
    """
    html = str(escape(text))
    if text.count("\n") <= LINES:
        return SafeString(html)
    html, opened = _OPENS.subn(r"<details><summary>\1\n</summary>", html)
    html, closed = _CLOSES.subn(r"\1</details>", html)
    return SafeString(html + "</details>" * (opened - closed))
