"""Twenty texts that break pages, forms or databases, for tests of every field that people can fill in."""

from __future__ import annotations

HOSTILE = [
    "\0",
    "\ud800",
    "a" * 300,
    "x" * 3_000_000,
    "<script>alert(1)</script>",
    "‮evil",
    "שלום",
    "'; DROP TABLE taskq_taskrun; --",
    "{{ 7 * 7 }}{% load x %}",
    "%s%d%(x)s",
    "a\nb\r\n\tc",
    "https://evil.example/",
    '"><img src=x onerror=alert(1)>',
    "\\",
    " ",
    "٣",
    "-1",
    "9" * 400,
    "NaN",
    "💥" * 200,
]
