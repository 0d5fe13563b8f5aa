"""The address of an action: GET shows the confirm page and changes nothing, POST acts.

Called by ``admin.read_only`` at ``do/<key>/``. Both ask for the permission of the action and the view permission of the
model. After it acted, the answer leads back to where the user came from, with messages that say what really happened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from taskq import timezones
from taskq.conf import settings
from taskq.exceptions import TaskqError
from taskq.log_escapes import get_logger
from taskq_admin.actions import bulk, log
from taskq_admin.actions.base import Action, Report, Who, get
from taskq_admin.actions.selection import Selection, chosen
from taskq_admin.answers import as_json, wants_json
from taskq_admin.badges import short
from taskq_admin.queries.queues import is_read
from taskq_admin.queries.wanted import Wanted

from .confirm import Confirm, shown_at, way_back

if TYPE_CHECKING:
    from taskq_admin.admin.read_only import ReadOnlyAdmin

TEMPLATE = "admin/taskq_admin/action.html"
#: Characters of a message at most, and messages of one action at most: they may travel in a cookie.
LONGEST, MOST = 1000, 20
_log = get_logger(__name__)


def serve(model_admin: ReadOnlyAdmin[Any], request: HttpRequest, key: str) -> HttpResponse:
    """Answer for one action of a ``ModelAdmin``. Raises 404 for an unknown key, 403 without the permissions."""
    action = get(str(model_admin.opts.model_name), key)
    if action is None:
        raise Http404(_("There is no such action."))
    if not (model_admin.has_view_permission(request) and model_admin.has_action_permission(request, action)):
        raise PermissionDenied
    if request.method not in ("GET", "HEAD", "POST"):
        return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
    return _Asked(model_admin, request, action).answer()


class _Asked:
    """One request for an action."""

    def __init__(self, model_admin: ReadOnlyAdmin[Any], request: HttpRequest, action: Action) -> None:
        self.model_admin = model_admin
        self.request = request
        self.action = action
        self.chosen: Selection = chosen(model_admin, request, bulk_allowed=action.bulk)
        self.back = way_back(request, self._list())

    def answer(self) -> HttpResponse:
        """Act, if that was confirmed or needs no confirmation; else ask."""
        if self.chosen.problems:
            return self._leave(_refused(self.chosen))
        if self.action.single and self.chosen.count.value > 1:
            return self._leave(Report().say(_("This can be done to one at a time only."), messages.ERROR))
        if not self.chosen.rows:
            return self._leave(_nothing_chosen(self.chosen))
        data = self.request.POST if self.request.method == "POST" and self._is_confirmed() else None
        confirm = Confirm(self._to_type(), data)
        rows = list(self.chosen.rows.values())
        form = self.action.form_for(self.request, rows, self.chosen.count.value > 1, data)
        # Both are asked, so that all errors are shown at once.
        if data is not None and all([form.is_valid(), confirm.is_valid()]):
            reason = confirm.cleaned_data["reason"]
            return self._act(form.cleaned_data, Who(self.request.user, reason, self.request, shown_at(self.request)))
        return self._ask(form, confirm)

    def _is_confirmed(self) -> bool:
        several = self.chosen.count.value > 1 or "ask" in self.request.POST
        return "confirmed" in self.request.POST or not (self.action.asks or several)

    def _to_type(self) -> str:
        if not self.action.type_to_confirm:
            return ""
        return self.chosen.ids[0] if self.chosen.count.value == 1 else str(self.chosen.count)

    def _ask(self, form: forms.Form, confirm: Confirm) -> HttpResponse:
        context = {
            "action": self.action,
            "chosen": self.chosen,
            "form": form,
            "question": self._question(form),
            "confirm": confirm,
            "everything": "everything" in self.request.POST or "everything" in self.request.GET,
            "back": self.back,
            "shown": timezones.now().isoformat(),
            "unread": self._unread(form),
            "media": form.media + confirm.media,
        }
        title = f"{self.action.label}: {self._what()}"
        return self.model_admin.render(self.request, TEMPLATE, title, context, data=lambda: self._described(form))

    def _described(self, form: forms.Form) -> dict[str, Any]:
        return {
            "action": self.action.key,
            "label": self.action.label,
            "question": self._question(form),
            "count": self.chosen.count.value,
            "more": self.chosen.count.more,
            "sample": list(getattr(form, "sample", ())) or self.chosen.names,
            "gone": self.chosen.gone,
            "fields": [name for name, field in form.fields.items() if not field.widget.is_hidden],
            "errors": form.errors,
        }

    def _question(self, form: forms.Form) -> Any:
        """Return what is asked: by the form, if it depends on the rows, else by the action."""
        return getattr(form, "question", self.action.question) or self.action.about

    def _unread(self, form: forms.Form) -> str:
        """Return the queue of the tasks that act on many, if one of them is to do this and nobody reads it."""
        by_task = self.chosen.wanted is not None or getattr(form, "by_task", False)
        return settings.ADMIN_QUEUE if by_task and not is_read(settings.ADMIN_QUEUE) else ""

    def _what(self) -> str:
        if self.chosen.count.value == 1:
            return short(self.chosen.names[0])
        return f"{self.chosen.count} {self.model_admin.opts.verbose_name_plural}"

    def _act(self, data: Mapping[str, Any], who: Who) -> HttpResponse:
        if self.chosen.wanted is not None:
            return self._leave(_tried(lambda: self._begin(data, who), self.action)[0])
        report, failed = _tried(lambda: self.action.act(self.chosen.ids, data, who), self.action)
        touched = self.chosen.ids if report.touched is None else report.touched
        if report.done or failed:
            rows = [self.chosen.rows[each] for each in touched if each in self.chosen.rows]
            log.write(self.action, rows, who, failed)
        _say_gone(report, self.chosen)
        return self._leave(report)

    def _begin(self, data: Mapping[str, Any], who: Who) -> Report:
        """Have a worker act on all that match; the log's entry names the run that does it."""
        site = self.model_admin.admin_site.name
        run = bulk.begin(self.action, self.chosen.wanted or Wanted(), data, who, site)
        log.write(self.action, [run], who, matching=self.chosen.query)
        page = reverse("admin:taskq_taskrun_by_task_id", args=[run.task_id], current_app=site)
        text = format_html('{} <a href="{}">{}</a>', _("A task does it, and tells how far it is:"), page, str(run))
        return Report().say(text, messages.INFO)

    def _leave(self, report: Report) -> HttpResponse:
        if wants_json(self.request):
            said = [{"level": messages.DEFAULT_TAGS.get(level, ""), "text": text} for level, text in report.messages]
            return as_json({"done": report.done, "messages": said})
        for level, text in _few(report.messages):
            messages.add_message(self.request, level, _fit(text), fail_silently=True)
        return HttpResponseRedirect(self.back)

    def _list(self) -> str:
        opts = self.model_admin.opts
        name = f"admin:{opts.app_label}_{opts.model_name}_changelist"
        return reverse(name, current_app=self.model_admin.admin_site.name)


def _tried(act: Callable[[], Report], action: Action) -> tuple[Report, str]:
    """Return the action's report, or one that says why there is none; and the class of an unexpected exception."""
    try:
        with _savepoint():
            return act(), ""
    except PermissionDenied:
        raise
    except (TaskqError, ValueError) as error:
        return Report().say(str(error) or type(error).__name__, messages.ERROR), ""
    except Exception as error:
        _log.exception("action %s of %s failed", action.key, action.of)
        name = type(error).__name__
        text = _("%(action)s failed, perhaps half-way, with %(error)s: %(text)s")
        return Report().say(text % {"action": action.label, "error": name, "text": error}, messages.ERROR), name


def _savepoint() -> AbstractContextManager[Any]:
    """Contain an error of the database inside a transaction of the project: messages are written after it."""
    alias = settings.DATABASE
    return transaction.atomic(alias) if transaction.get_connection(alias).in_atomic_block else nullcontext()


def _few(said: Sequence[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Yield the first messages, and how many more there are."""
    yield from said[:MOST]
    if rest := said[MOST:]:
        text = ngettext("%(count)s more message is not shown.", "%(count)s more messages are not shown.", len(rest))
        yield max(level for level, _text in rest), text % {"count": len(rest)}


def _refused(selection: Selection) -> Report:
    report = Report().say(_("Nothing was done, because the filter can't be heeded as it is."), messages.ERROR)
    for sentence in selection.problems:
        report.say(sentence, messages.ERROR)
    return report


def _nothing_chosen(selection: Selection) -> Report:
    if selection.gone:
        return _say_gone(Report(), selection)
    text = _("No task matches (any more).") if selection.query else _("Nothing was chosen.")
    return Report().say(text, messages.WARNING)


def _say_gone(report: Report, selection: Selection) -> Report:
    """Add what was asked for and is not there."""
    if selection.gone:
        count = len(selection.gone)
        text = _("%(id)s is gone.") if count == 1 else _("%(count)s of those chosen are gone.")
        report.say(text % {"id": short(selection.gone[0]), "count": count}, messages.WARNING)
    if selection.left_out:
        text = ngettext("%(count)s more was left out.", "%(count)s more were left out.", selection.left_out)
        report.say(text % {"count": selection.left_out}, messages.WARNING)
    return report


def _fit(text: str) -> str:
    """Return a message that a cookie and a page can hold; HTML is the action's own, and stays whole."""
    if isinstance(text, SafeString):
        return text
    return text[:LONGEST].encode(errors="replace").decode()
