"""What became of the tasks that were acted upon, as numbers and in words. Called by the actions and by bulk tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from django.contrib.messages import SUCCESS, WARNING
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from .base import Report, Text

#: What has been done; the others say why something was not.
DONE: dict[str, Text] = {
    "retried": gettext_lazy("%(count)s retried"),
    "rerun": gettext_lazy("%(count)s run again as new"),
    "revoked": gettext_lazy("%(count)s revoked"),
    "asked": gettext_lazy("%(count)s told to stop, because a worker holds them"),
    "terminated": gettext_lazy("%(count)s told to end at once, because a worker holds them"),
    "noted": gettext_lazy("%(count)s revoked: workers refuse or stop them when they hear of it"),
    "moved": gettext_lazy("%(count)s moved"),
    "prioritized": gettext_lazy("%(count)s with the new priority"),
    "deleted": gettext_lazy("%(count)s deleted"),
}
WORDS: dict[str, Text] = DONE | {
    "missing": gettext_lazy("%(count)s gone"),
    "unfinished": gettext_lazy("%(count)s had not ended"),
    "succeeded": gettext_lazy("%(count)s had succeeded, and can be run again as new only"),
    "masked": gettext_lazy("%(count)s not retried, because sensitive arguments are masked"),
    "unkept": gettext_lazy("%(count)s not retried, because arguments were not kept"),
    "unreadable": gettext_lazy("%(count)s not retried, because arguments can't be read"),
    "altered": gettext_lazy("%(count)s not retried, because what is stored was altered"),
    "repeated": gettext_lazy("%(count)s had been run again as new already"),
    "refused": gettext_lazy("%(count)s refused"),
    "passed": gettext_lazy("%(count)s passed over, because it does not apply to them"),
    "ended": gettext_lazy("%(count)s had ended"),
    "claimed": gettext_lazy("%(count)s left alone, because a worker holds them"),
}


def words(counts: Mapping[str, int]) -> str:
    """Return numbers in words, such as "98,213 retried, 12 had not ended"."""
    parts = [
        str(WORDS.get(key, f"%(count)s {key}")) % {"count": f"{count:,}"} for key, count in counts.items() if count
    ]
    return ", ".join(parts) or _("nothing was done")


def report(counts: Mapping[str, int], touched: Iterable[str] | None = None) -> Report:
    """Return what happened as a report."""
    done = sum(count for key, count in counts.items() if key in DONE)
    found = Report(done=done, counts=dict(counts), touched=None if touched is None else list(touched))
    text = words(counts)
    return found.say(f"{text[:1].upper()}{text[1:]}.", SUCCESS if done else WARNING)
