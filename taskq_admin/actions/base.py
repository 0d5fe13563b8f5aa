"""An action: something that a user does to rows of a page. And the registry of all actions.

An action is a button on the page of a row, or of a list. ``taskq_admin.views.action`` asks, checks the permission,
calls ``act``, and writes who did it. An action of the project's own is registered likewise, when its app is ready::

    register(Action(key="mark", of="taskrun", label=_("Mark"), permission="shop.mark", act=mark))
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django import forms
from django.apps import apps
from django.contrib import admin
from django.contrib.admin.models import CHANGE
from django.contrib.admin.sites import all_sites
from django.contrib.messages import SUCCESS
from django.core.exceptions import ImproperlyConfigured
from django.core.validators import slug_re
from django.http import HttpRequest
from django.utils.functional import Promise

from taskq_admin.queries.wanted import Wanted

Text = str | Promise


@dataclass(frozen=True, slots=True)
class Who:
    """Who acts: a user of the site, and the reason if one was given.

    ``request`` has the user and the site. ``since`` is when the page was shown on which it was asked for, by the clock
    of the database: what was run again as new since then, by a second press too, is not run again as new. ``bulk`` is
    the action that a bulk task does, a part of many at a time, such as ``node.revoke``; empty if no task acts.
    """

    user: Any
    reason: str = ""
    request: HttpRequest | None = None
    since: datetime | None = None
    bulk: str = ""

    def may(self, of: str, key: str) -> bool:
        """Tell whether the user may do another action too."""
        action = get(of, key)
        if action is None:
            return False
        return action.is_permitted(self.user) if self.request is None else is_permitted(self.request, action)

    @property
    def name(self) -> str:
        """The user's name, as rows and logs keep it."""
        return str(self.user.get_username())


@dataclass(slots=True)
class Report:
    """What really happened: how many rows were changed, and sentences with the levels of ``django.contrib.messages``.

    ``touched`` are the ids that were changed, ``None`` if they are all that were chosen: these get a log entry. HTML in
    a message, such as a link, has to be made by ``format_html``. ``counts`` is how many tasks met which outcome, see
    ``outcomes``: bulk tasks sum them up.
    """

    done: int = 0
    messages: list[tuple[int, str]] = field(default_factory=list)
    touched: Sequence[str] | None = None
    counts: Mapping[str, int] = field(default_factory=dict)

    def say(self, text: Text, level: int = SUCCESS) -> Report:
        """Add a sentence, and return the report."""
        self.messages.append((level, text if isinstance(text, str) else str(text)))
        return self


#: A part of what a bulk task does: returns how many rows it has looked at, and how many met which outcome.
Step = Callable[[], tuple[int, Mapping[str, int]]]
#: What an action does to rows: see ``Action.act``.
Act = Callable[[Sequence[str], Mapping[str, Any], Who], Report]


def _always(row: Any) -> bool:
    return True


def _never(row: Any) -> Text:
    return ""


def _nothing(request: HttpRequest, rows: Sequence[Any]) -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One thing that can be done to rows of a model.

    Attributes:
        key: its name in addresses.
        of: the model's name in small letters, such as ``taskrun``: the ``ModelAdmin`` of this model serves it.
        label: the text of the button.
        permission: the permission that it needs besides the view permission of the model.
        act: does it. Called with the ids of rows, the cleaned data of ``form``, and who acts. An exception becomes a
            message; a ``TaskqError`` or a ``ValueError`` is shown as a refusal, in its own words.
        question: what the confirm page asks. Without it, and without a form, the button acts at once.
        about: what it does, for an action without a question: its tooltip, and said before it acts on several.
        form: more to fill in.
        initial: what the form begins with; called with the request and the rows.
        make_form: makes the form, instead of these two, if it depends on the rows: called with the request, the rows,
            whether there are more than one, and the data, which is ``None`` before it was filled in. Its ``question``,
            if it has one, is asked instead of the action's.
        destroys: something is lost; the button is red.
        applies: whether the page of a row offers it.
        refuses: why it can't be done to a row, shown instead of the button; empty if it can.
        bulk: it may act on all that match a filter.
        on_tasks: does it to the tasks with these ids, in a bulk task, if the rows are no tasks.
        in_steps: does it in a bulk task, if what it is done to is not found by a filter of tasks. Called with what is
            wanted, the cleaned data and who acts; returns how many rows there are, and the steps.
        single: it acts on one row only.
        type_to_confirm: the name, or the number of the rows, has to be typed.
        flag: the kind of the entry in Django's admin log.
    """

    key: str
    of: str
    label: Text
    permission: str
    act: Act
    question: Text = ""
    about: Text = ""
    form: type[forms.Form] | None = None
    initial: Callable[[HttpRequest, Sequence[Any]], Mapping[str, Any]] = _nothing
    make_form: Callable[[HttpRequest, Sequence[Any], bool, Mapping[str, Any] | None], forms.Form] | None = None
    destroys: bool = False
    applies: Callable[[Any], bool] = _always
    refuses: Callable[[Any], Text] = _never
    bulk: bool = False
    on_tasks: Act | None = None
    in_steps: Callable[[Wanted, Mapping[str, Any], Who], tuple[int, Iterable[Step]]] | None = None
    single: bool = False
    type_to_confirm: bool = False
    flag: int = CHANGE

    def form_for(
        self, request: HttpRequest, rows: Sequence[Any], many: bool, data: Mapping[str, Any] | None
    ) -> forms.Form:
        """Return the form for these rows, an empty one if there is nothing to fill in."""
        if self.make_form is not None:
            return self.make_form(request, rows, many, data)
        initial = {} if data is not None else dict(self.initial(request, rows))
        return (self.form or forms.Form)(data, initial=initial)

    @property
    def name(self) -> str:
        """What the log calls it, in every language."""
        return f"{self.of}.{self.key}"

    @property
    def asks(self) -> bool:
        """Whether a page is shown before it acts."""
        return bool(self.question or self.form or self.make_form or self.type_to_confirm)

    def is_permitted(self, user: Any) -> bool:
        """Tell whether a user has its permission, and may see the rows: the rule of who overrides none."""
        return bool(user.has_perm(self.permission) and user.has_perm(f"taskq.view_{self.of}"))


#: All actions by model and key, in the order in which pages show them.
ACTIONS: dict[tuple[str, str], Action] = {}


def register(*actions: Action) -> None:
    """Add actions; one with the model and the key of an earlier one replaces it.

    Raises ``ImproperlyConfigured`` for a model or a key that no page could have.
    """
    for action in actions:
        _check(action)
    ACTIONS.update({(action.of, action.key): action for action in actions})


def _check(action: Action) -> None:
    """Refuse here, where the mistake is, what would break the pages that list all actions."""
    if action.of not in apps.all_models["taskq"]:
        raise ImproperlyConfigured(
            f"The action {action.key!r} has of={action.of!r}: that is no model of taskq. "
            'Write its name in small letters, such as "taskrun", "node", "queue" or "worker".'
        )
    if not slug_re.fullmatch(action.key):
        raise ImproperlyConfigured(
            f"The action {action.key!r} of {action.of!r}: its key stands in addresses, and may have letters, digits, "
            f"hyphens and underscores only."
        )


def define(of: str, key: str, label: Text, permission: str, act: Act, **more: Any) -> Action:
    """Return an action of taskq's own, whose permission is one of the app ``taskq``."""
    return Action(key=key, of=of, label=label, permission=f"taskq.{permission}", act=act, **more)


def get(of: str, key: str) -> Action | None:
    """Return an action by the model's name and its key."""
    return ACTIONS.get((of, key))


def pages_of(request: HttpRequest, of: str) -> Any:
    """Return the ``ModelAdmin`` of a model on the site of a request, ``None`` if that site does not show it."""
    name = getattr(request, "current_app", None) or admin.site.name
    model = apps.get_model("taskq", of)
    found = (site._registry.get(model) for site in all_sites if site.name == name)
    return next((pages for pages in found if pages is not None), None)


def is_permitted(request: HttpRequest, action: Action) -> bool:
    """Tell whether the user may do this, and see the rows: as the ``ModelAdmin`` of the site has it."""
    pages = pages_of(request, action.of)
    return bool(pages and pages.has_view_permission(request) and pages.has_action_permission(request, action))


def offered(request: HttpRequest, of: str, row: Any) -> Iterator[Action]:
    """Yield the actions that the user may do, and that the row allows or refuses in words."""
    for (model, _), action in list(ACTIONS.items()):
        if model == of and action.applies(row) and is_permitted(request, action):
            yield action
