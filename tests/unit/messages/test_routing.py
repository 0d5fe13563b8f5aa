"""``routing``: where tasks go, and which queues a worker reads."""

from __future__ import annotations

import re
from enum import Enum
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from kombu import Exchange, Queue
from kombu.common import Broadcast

from taskq.exceptions import QueueNotFound
from taskq.messages import routing
from taskq.messages.routing import Route, route


def by_name(name: str, args: Any, kwargs: Any, options: Any, task: Any = None, **rest: Any) -> Any:
    """A router, found by its path."""
    return {"queue": "by_name", "priority": 7} if name == "routed" else None


def own(**attributes: Any) -> Any:
    return SimpleNamespace(**attributes)


# -- who decides --------------------------------------------------------------------------


def test_default_queue_follows_namespace_and_setting() -> None:
    assert route("shop.add") == Route("taskq", "", "taskq")
    with override_settings(TASKQ_NAMESPACE="celery"):
        assert route("shop.add").queue == "celery"
    with override_settings(TASKQ_DEFAULT_QUEUE="other"):
        assert route("shop.add").queue == "other"
    assert route("shop.add").queue == "taskq"


@override_settings(TASKQ_ROUTES={"shop.add": {"queue": "routed"}})
def test_queue_of_call_wins_over_route_then_task_then_default() -> None:
    task = own(queue="tasks", priority=None)
    assert route("shop.add", options={"queue": "called"}, task=task).queue == "called"
    assert route("shop.add", task=task).queue == "routed"
    assert route("shop.mul", task=task).queue == "tasks"
    assert route("shop.mul", options={"queue": None}, task=own(queue=None)).queue == "taskq"


@override_settings(TASKQ_ROUTES={"shop.add": {"queue": "r", "priority": 5, "serializer": "pickle", "expires": 60}})
def test_route_may_set_priority_and_other_options() -> None:
    found = route("shop.add", options={"expires": 10, "serializer": None}, task=own(queue="t", priority=1))
    assert (found.queue, found.priority, found.options) == ("r", 5, {"serializer": "pickle"})
    assert route("shop.add", options={"priority": 0, "queue": "q"}).priority == 0
    assert route("shop.mul", task=own(priority=1)).priority == 1
    assert route("shop.mul").priority is None


# -- TASKQ_ROUTES --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "routes",
    [
        {"shop.*": "glob", "shop.add": "exact", re.compile(r"(video|image)\..*"): "regex"},
        [{"shop.add": {"queue": "exact"}}, {"shop.*": {"queue": "glob"}}, (re.compile(r"(video|image)\..*"), "regex")],
        ([("shop.*", "glob"), ("shop.add", "exact"), (re.compile(r"(video|image)\."), {"queue": "regex"})],),
    ],
    ids=["dictionary", "list", "celery's ordered pairs"],
)
def test_routes_match_names_globs_and_patterns(routes: Any) -> None:
    with override_settings(TASKQ_ROUTES=routes):
        names = ["shop.add", "shop.mul", "video.encode", "image.scale", "audio.play"]
        assert [route(name).queue for name in names] == ["exact", "glob", "regex", "regex", "taskq"]


def test_first_matching_route_wins() -> None:
    with override_settings(TASKQ_ROUTES=[("shop.*", "first"), ("shop.add", "second")]):
        assert route("shop.add").queue == "first"
    with override_settings(TASKQ_ROUTES={"a.*": "first", "a.b*": "second"}):
        assert route("a.bc").queue == "first"


def test_callable_router_without_an_answer_falls_through() -> None:
    asked = []

    def router(name: str, args: Any, kwargs: Any, options: Any, task: Any = None, **rest: Any) -> Any:
        asked.append((name, args, kwargs, options, task))
        return {"big": "bigs", "empty": {}}.get(kwargs.get("size"))

    task = own(queue=None)
    with override_settings(TASKQ_ROUTES=[router, f"{__name__}.by_name", {"*": "rest"}]):
        assert route("x", (1,), {"size": "big"}, {"shadow": "s"}, task).queue == "bigs"
        assert asked == [("x", (1,), {"size": "big"}, {"shadow": "s"}, task)]
        assert route("x", (), {"size": "empty"}).queue == "rest"
        assert (route("routed").queue, route("routed").priority) == ("by_name", 7)
        assert route("x").queue == "rest"


def test_route_that_is_none_falls_through() -> None:
    with override_settings(TASKQ_ROUTES=[{"shop.add": None}, ("shop.add", "next")]):
        assert route("shop.add").queue == "next"


@pytest.mark.parametrize(
    "routes", [[5], {"a": 5}, {5: "a"}, ["no.such.module"], [("a", "b", "c")], [[("a", "b"), 5]]], ids=repr
)
def test_malformed_routes_setting_is_refused(routes: Any) -> None:
    with override_settings(TASKQ_ROUTES=routes), pytest.raises(ImproperlyConfigured, match="TASKQ_ROUTES"):
        route("a")


@pytest.mark.parametrize(
    ("answer", "match"),
    [
        ({"queue": "a", "bogus": 1}, r"TASKQ_ROUTES.*unknown keys: 'bogus'.*routing_key"),
        ({"queue": 5}, r"TASKQ_ROUTES.*queue.*not 5"),
        ({"exchange": 5, "routing_key": "a"}, r"TASKQ_ROUTES.*exchange.*not 5"),
        (5, r"TASKQ_ROUTES.*not 5"),
    ],
    ids=str,
)
def test_route_with_unknown_keys_or_wrong_values_is_refused(answer: Any, match: str) -> None:
    for routes in ({"shop.*": answer}, [lambda *args, **kwargs: answer]):
        with override_settings(TASKQ_ROUTES=routes), pytest.raises(ImproperlyConfigured, match=match):
            route("shop.add")


def test_routers_are_compiled_once() -> None:
    with override_settings(TASKQ_ROUTES={"shop.*": "s"}):
        route("shop.add")
        table = routing._current()
        route("shop.mul")
        assert routing._current() is table
    assert routing._current() is not table


# -- queues and exchanges --------------------------------------------------------------------


QUEUES: list[Any] = [
    "plain",
    Queue("feeds", Exchange("feed", type="topic"), routing_key="feed.#"),
    {"name": "mails", "exchange": "mail", "exchange_type": "direct", "routing_key": "mail.out"},
    Queue("bare"),
    Broadcast("everyone"),
]


@override_settings(TASKQ_QUEUES=QUEUES)
def test_declared_queues_get_default_exchange_and_key() -> None:
    found = routing.queues()
    assert list(found) == ["plain", "feeds", "mails", "bare", "everyone", "taskq"]
    assert [(q.exchange.name, q.exchange.type, q.routing_key) for q in found.values()] == [
        ("taskq", "direct", "plain"),
        ("feed", "topic", "feed.#"),
        ("mail", "direct", "mail.out"),
        ("taskq", "direct", "bare"),
        ("everyone", "fanout", found["everyone"].routing_key),
        ("taskq", "direct", "taskq"),
    ]
    assert not QUEUES[3].exchange.name  # what is the project's is not changed


def test_queues_may_be_declared_in_a_dictionary() -> None:
    queues = {
        "a": {"exchange": "x", "exchange_type": "topic", "routing_key": "a.#", "max_priority": 5},
        "b": {},
        "c": None,
    }
    with override_settings(TASKQ_QUEUES=queues | {"d": {"exchange": Exchange("y", type="fanout")}}):
        found = routing.queues()
        assert list(found) == ["a", "b", "c", "d", "taskq"]
        assert (found["a"].exchange.type, found["a"].max_priority) == ("topic", 5)
        assert (found["b"].routing_key, found["d"].exchange.name) == ("b", "y")


@pytest.mark.parametrize(
    "queues",
    [
        *([5], [{}], {"a": 5}, [None]),
        {"a": {"exchnge": "z", "max_prioriti": 3}},
        {"a": {"exchange": 5}},
        {"a": {"exchange": Exchange("y"), "exchange_type": "topic"}},  # whose type is said by the exchange itself
    ],
    ids=repr,
)
def test_malformed_queues_setting_is_refused(queues: Any) -> None:
    with override_settings(TASKQ_QUEUES=queues), pytest.raises(ImproperlyConfigured, match="TASKQ_QUEUES"):
        routing.queues()


def test_queues_without_a_key_do_not_share_one() -> None:
    with override_settings(TASKQ_QUEUES=["a", "b"], TASKQ_DEFAULT_EXCHANGE_TYPE="topic", TASKQ_DEFAULT_EXCHANGE="x"):
        assert route("t", options={"queue": "a"}) == Route("a", "x", "a", "topic")
        assert routing.bound_queues("x", "a") == ["a"]


@override_settings(TASKQ_QUEUES=QUEUES)
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"queue": "plain"}, Route("plain", "", "plain")),
        ({"queue": "new"}, Route("new", "", "new")),
        ({"queue": "mails"}, Route("mails", "", "mails")),  # direct: the default exchange leads there
        ({"queue": "mails", "routing_key": "x"}, Route("mails", "", "mails")),
        ({"queue": "mails", "exchange": "mail", "routing_key": "k"}, Route("mails", "mail", "k")),
        ({"queue": "feeds"}, Route("feeds", "feed", "feed.#", "topic")),
        ({"queue": "feeds", "routing_key": "feed.import"}, Route("feeds", "feed", "feed.import", "topic")),
        ({"queue": "everyone"}, Route("everyone", "everyone", "", "fanout")),
        ({"exchange": "feed", "routing_key": "feed.x"}, Route("feeds", "feed", "feed.x", "topic")),
        ({"exchange": "mail", "routing_key": "mail.out"}, Route("mails", "mail", "mail.out")),
        ({"exchange": "mail"}, Route("mails", "mail", "mail.out")),
        ({"exchange": "mail", "routing_key": "nobody"}, Route("", "mail", "nobody")),
        ({"exchange": "foreign", "exchange_type": "topic", "routing_key": "a.b"}, Route("", "foreign", "a.b", "topic")),
        ({"exchange": "foreign"}, Route("foreign", "foreign", "foreign")),
        ({"exchange": Exchange("feed"), "routing_key": "feed.x"}, Route("feeds", "feed", "feed.x", "topic")),
        ({"routing_key": "ignored"}, Route("taskq", "", "taskq")),
        ({"queue": Queue("mine")}, Route("mine", "", "mine")),
        ({"queue": Queue("mine", Exchange("t", type="topic"), "a.#")}, Route("mine", "t", "a.#", "topic")),
    ],
    ids=str,
)
def test_destination_of_queue_exchange_and_key_options(options: dict[str, Any], expected: Route) -> None:
    found = route("t", options=options)
    if expected.exchange_type == "fanout":
        assert (found.queue, found.exchange, found.exchange_type) == ("everyone", "everyone", "fanout")
    else:
        assert found == expected


@override_settings(TASKQ_QUEUES=QUEUES, TASKQ_ROUTES={"feed.*": {"exchange": "feed", "routing_key": "feed.x"}})
def test_routing_key_of_the_call_goes_with_the_exchange_of_the_route() -> None:
    assert route("feed.a").routing_key == "feed.x"
    assert route("feed.a", options={"routing_key": "feed.y"}) == Route("feeds", "feed", "feed.y", "topic")
    assert route("feed.a", options={"queue": "plain"}) == Route("plain", "", "plain")


@override_settings(TASKQ_QUEUES=QUEUES, TASKQ_DEFAULT_QUEUE="feeds")
def test_routing_key_alone_goes_to_the_default_queue() -> None:
    assert route("t", options={"routing_key": "feed.y"}) == Route("feeds", "feed", "feed.y", "topic")
    assert route("t", task=own(routing_key="feed.z")).routing_key == "feed.z"


@override_settings(TASKQ_CREATE_MISSING_QUEUES=False, TASKQ_QUEUES=["hipri"])
def test_undeclared_queue_is_refused_when_none_may_be_created() -> None:
    assert route("t", options={"queue": "hipri"}).queue == "hipri"
    assert route("t").queue == "taskq"
    assert route("t", options={"queue": Queue("hipri")}).queue == "hipri"
    for find in (
        lambda: route("t", options={"queue": Queue("lopri")}),
        lambda: route("t", options={"queue": "lopri"}),
        lambda: routing.select("lopri"),
        lambda: routing.queue("lopri"),
    ):
        with pytest.raises(QueueNotFound, match=r"lopri.*TASKQ_CREATE_MISSING_QUEUES"):
            find()


@pytest.mark.parametrize(("queue", "error"), [("x" * 256, ValueError), ("\0", ValueError), (5, TypeError)])
def test_invalid_queue_names_are_refused(queue: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="queue"):
        route("t", options={"queue": queue})


@pytest.mark.parametrize("options", [{"exchange": 5}, {"routing_key": 5}, {"queue": "q", "exchange": b"x"}])
def test_exchange_or_routing_key_of_the_wrong_type_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=r"exchange must be a name|routing_key must be a string"):
        route("t", options=options)


# -- what a worker reads -----------------------------------------------------------------------


@override_settings(TASKQ_QUEUES=["hipri", "lopri"])
def test_select_takes_and_excludes_queues() -> None:
    assert list(routing.select()) == ["hipri", "lopri", "taskq"]
    assert list(routing.select("lopri, hipri,,lopri")) == ["lopri", "hipri"]
    assert list(routing.select(["new", "hipri"])) == ["new", "hipri"]
    assert list(routing.select(None, "hipri,unknown")) == ["lopri", "taskq"]
    assert list(routing.select("hipri,lopri", ["hipri"])) == ["lopri"]
    with pytest.raises(ValueError, match="-Q"):
        routing.select("hipri", "hipri")


def test_select_without_declared_queues_is_the_default_queue() -> None:
    assert list(routing.select()) == ["taskq"]
    made = routing.select("hipri")["hipri"]
    assert (made.name, made.exchange.name, made.routing_key) == ("hipri", "hipri", "hipri")


def test_worker_direct_queue_is_that_of_celery() -> None:
    queue = routing.worker_direct("w1@host")
    assert (queue.name, queue.exchange.name, queue.routing_key) == ("w1@host.dq2", "C.dq2", "w1@host")
    assert route("t", options={"queue": queue}) == Route("w1@host.dq2", "", "w1@host.dq2")


@override_settings(TASKQ_QUEUES=QUEUES)
def test_bound_queues_of_exchange_and_key() -> None:
    assert routing.bound_queues("", "anything") == ["anything"]
    assert routing.bound_queues("feed", "feed.a.b") == ["feeds"]
    assert routing.bound_queues("feed", "other") == []
    assert routing.bound_queues("taskq", "bare") == ["bare"]
    # Workers have queues of their own for a broadcast; the one of this process is read by nobody.
    assert routing.bound_queues("everyone", "x") == []


class Line(str, Enum):  # noqa: UP042 - as projects have them
    LOW = "lopri"


@override_settings(TASKQ_QUEUES=["taskq", "lopri"], TASKQ_CREATE_MISSING_QUEUES=False)
def test_queue_that_is_an_enumeration_member_is_its_value() -> None:
    found = route("a.b", options={"queue": Line.LOW})
    assert found == Route("lopri", "", "lopri")
    assert {type(found.queue), type(found.routing_key)} == {str}
    with override_settings(TASKQ_QUEUES=(), TASKQ_CREATE_MISSING_QUEUES=True):
        found = route("a.b", options={"queue": Line.LOW})
    assert {type(found.queue), type(found.routing_key)} == {str}
