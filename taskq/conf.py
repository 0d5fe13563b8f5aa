"""Every ``TASKQ_*`` setting, in one table: the attributes of ``Settings``.

All rooms read ``settings.<NAME>``, without the prefix; the checks and the reference documentation read
``SETTINGS``. A value is read from Django's settings, checked and kept on first use, and read again after
``override_settings``. Nothing here writes a setting or opens a connection.

``python -m taskq.conf`` prints ``docs/reference/settings.md``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, NoReturn

from django.conf import settings as django_settings
from django.core.signals import setting_changed

from taskq import value_kinds as kinds
from taskq.broker_urls import broker_url_problem, masked_url
from taskq.environment import Env
from taskq.setting import PREFIX, From, Setting, lock

__all__ = [
    "SETTINGS",
    "Env",
    "Setting",
    "Settings",
    "broker_url_problem",
    "database_broker_alias",
    "masked_url",
    "settings",
    "two_databases",
]


def _django_time_zone() -> str:
    django: Any = django_settings  # its plugin for mypy would read the project's settings, which may import this module
    return django.TIME_ZONE or "UTC"


class Settings:
    """The table. Read it through ``taskq.conf.settings``."""

    DATABASE = Setting(kinds.TEXT, "default", "Alias of the database that holds all rows of taskq.")
    BROKER_URL = Setting(
        kinds.TEXT,
        "django://",
        "The broker. `django://` is the database of `TASKQ_DATABASE`, the only broker of this version: sending and "
        "workers refuse every other URL.",
    )
    BROKER_TRANSPORT_OPTIONS = Setting(kinds.OPTIONS, {}, "Options for kombu's transport.")
    CONTROL_URL = Setting(
        kinds.TEXT,
        From("`TASKQ_BROKER_URL`", lambda s: s.BROKER_URL),
        "The broker of remote control and events, any that kombu has: tasks can be in the database, and Celery's "
        "monitors on `redis://`.",
    )
    ENABLE_REMOTE_CONTROL = Setting(
        kinds.FLAG, True, "Whether workers read commands of remote control: inspect, revoke, shut down."
    )
    SEND_TASK_EVENTS = Setting(
        kinds.FLAG, False, "Whether workers send events of tasks, as with `taskworker -E`: see the topic Monitoring."
    )
    SEND_SENT_EVENT = Setting(
        kinds.FLAG, False, "Whether a process that sends a task sends the event `task-sent` too, once it is committed."
    )
    NOTIFY = Setting(
        kinds.FLAG, True, "Wake waiting processes through the database (`LISTEN`/`NOTIFY`) where it can do that."
    )
    POLL_INTERVAL = Setting(
        kinds.DURATION,
        5.0,
        "Seconds between two polls of an idle process, in case it missed a wake-up.",
    )

    NAMESPACE = Setting(
        kinds.TEXT,
        "taskq",
        "The name of the default queue, and the prefix of the workers' names. `celery` gives Celery's own names.",
    )
    QUEUES = Setting(
        kinds.optional(kinds.QUEUE_TABLE),
        None,
        "The declared queues. `None` declares the default queue alone.",
    )
    CREATE_MISSING_QUEUES = Setting(
        kinds.FLAG, True, "Use a queue that is not in `TASKQ_QUEUES` as if it were; off, that is an error."
    )
    DEFAULT_QUEUE = Setting(
        kinds.TEXT, From("`TASKQ_NAMESPACE`", lambda s: s.NAMESPACE), "Queue of tasks without a route."
    )
    ADMIN_QUEUE = Setting(
        kinds.TEXT,
        From("`TASKQ_DEFAULT_QUEUE`", lambda s: s.DEFAULT_QUEUE),
        "Queue of the task by which the admin acts on all tasks that match a filter, `taskq_admin.bulk`.",
    )
    DEFAULT_EXCHANGE = Setting(
        kinds.TEXT, From("`TASKQ_DEFAULT_QUEUE`", lambda s: s.DEFAULT_QUEUE), "Exchange of queues without one."
    )
    DEFAULT_EXCHANGE_TYPE = Setting(
        kinds.choice("direct", "topic", "fanout", "headers"), "direct", "Type of exchanges without one."
    )
    DEFAULT_ROUTING_KEY = Setting(
        kinds.TEXT,
        From("`TASKQ_DEFAULT_QUEUE`", lambda s: s.DEFAULT_QUEUE),
        "Routing key of queues without one.",
    )
    DEFAULT_PRIORITY = Setting(kinds.PRIORITY, 0, "Priority of messages without one, 0 to 9; larger is sooner.")
    ROUTES = Setting(
        kinds.optional(kinds.ROUTE_TABLE),
        None,
        "Queues of tasks by name, glob or compiled pattern; or callables `(name, args, kwargs, options, task=None)`.",
    )

    SERIALIZER = Setting(kinds.TEXT, "json", "kombu serializer of arguments.")
    RESULT_SERIALIZER = Setting(kinds.TEXT, "json", "kombu serializer of results.")
    ACCEPT_CONTENT = Setting(
        kinds.NAMES, ("json",), "Names of serializers, or content types, that are read. Others are refused."
    )
    COMPRESSION = Setting(kinds.optional(kinds.TEXT), None, "kombu compression of message bodies.")
    SIGNING = Setting(
        kinds.FLAG,
        False,
        "Seal messages, and what rows keep for later, with `SECRET_KEY`; drop messages that are unsigned, altered or "
        "delivered again. All processes need it. Tasks then have rows whatever `TASKQ_TRACK_PENDING` says.",
    )
    MAX_MESSAGE_SIZE = Setting(
        kinds.optional(kinds.COUNT), 16 * 1024 * 1024, "Most bytes of a body, also when opened. `None` is no limit."
    )
    MAX_HEADERS_SIZE = Setting(
        kinds.optional(kinds.COUNT), 64 * 1024, "Most bytes of headers and properties of a message. `None` is no limit."
    )
    PUBLISH_RETRY = Setting(
        kinds.FLAG,
        True,
        "Send again if a broker other than the database can't be reached. The database is not asked again.",
    )
    PUBLISH_RETRY_POLICY = Setting(
        kinds.POLICY,
        kinds.PUBLISH_RETRY_POLICY,
        "How often and how soon `TASKQ_PUBLISH_RETRY` sends again, in seconds. Missing keys keep their defaults.",
    )

    TYPING = Setting(kinds.FLAG, False, "Check a task's arguments against its signature when it is sent.")
    ALWAYS_EAGER = Setting(kinds.FLAG, False, "Run tasks in the calling process instead of sending them. For tests.")
    EAGER_PROPAGATES = Setting(kinds.FLAG, False, "Raise the exceptions of eager tasks in the caller.")
    STORE_EAGER_RESULT = Setting(kinds.FLAG, False, "Write rows for eager tasks too.")
    ALLOW_ERROR_CB_ON_CHORD_HEADER = Setting(
        kinds.FLAG, False, "Put the errbacks of a chord on the tasks of its header too, not on its body alone."
    )
    MAX_RETRIES = Setting(kinds.optional(kinds.WHOLE), 3, "How often a task may be retried. `None` is no limit.")
    DEFAULT_RETRY_DELAY = Setting(kinds.WAIT, 180.0, "Seconds before a retry without `countdown` and `eta`.")
    ACKS_LATE = Setting(
        kinds.FLAG,
        True,
        "Acknowledge a message after its task has ended, so that the task runs again if its worker dies. `False`: "
        "before it starts, so that it never runs twice.",
    )
    MAX_DELIVERIES = Setting(
        kinds.COUNT,
        3,
        "The most starts of a task whose process or worker is lost each time. Then it fails with `WorkerLostError`.",
    )
    UNKNOWN_TASK_GRACE = Setting(
        kinds.SECONDS,
        60.0,
        "Seconds for which a task that a worker does not know goes back for a worker that does, as while a deploy goes "
        "on; then it fails with `NotRegistered`. While a worker that knows it looks for such messages in its queues, "
        "for ten times as long at most, the time begins anew. 0 fails it at once.",
    )
    TIME_LIMIT = Setting(kinds.optional(kinds.LIMIT), None, "Seconds after which the process of a task is killed.")
    SOFT_TIME_LIMIT = Setting(
        kinds.optional(kinds.LIMIT),
        None,
        "Seconds after which `SoftTimeLimitExceeded` is raised inside the task.",
    )

    DEFAULT_RATE_LIMIT = Setting(kinds.optional(kinds.RATE), None, "The rate limit of tasks that set none.")
    DISABLE_RATE_LIMITS = Setting(kinds.FLAG, False, "Workers start tasks whatever their rate limits are.")

    IGNORE_RESULT = Setting(kinds.FLAG, False, "Keep no row of a success.")
    STORE_ERRORS_EVEN_IF_IGNORED = Setting(kinds.FLAG, False, "Keep failures of tasks whose result is ignored.")
    TRACK_STARTED = Setting(kinds.FLAG, False, "Write the state `STARTED` when a task starts.")
    TRACK_PENDING = Setting(kinds.FLAG, True, "Write a row when a task is sent, so that the admin shows waiting tasks.")
    KEEP_TASK_LOGS = Setting(
        kinds.FLAG,
        False,
        "Keep what tasks log from `INFO` on with their rows, for the admin: 1,000 lines and 64 KiB of each start.",
    )
    STATISTICS = Setting(kinds.FLAG, True, "Count by minute and by hour how tasks end, for charts: see `Statistic`.")
    MAX_RESULT_SIZE = Setting(
        kinds.optional(kinds.COUNT),
        64 * 1024 * 1024,
        "Most bytes of a result; a task that returns more fails. `None` is no limit.",
    )
    RESULT_EXPIRES = Setting(
        kinds.AGE, timedelta(days=1), "How long rows of ended tasks are kept. `None` or 0 keeps them for ever."
    )
    RESULT_FAILURE_EXPIRES = Setting(
        kinds.AGE, timedelta(days=7), "How long rows of failures are kept. `None` or 0 keeps them for ever."
    )
    REVOKES_EXPIRE = Setting(
        kinds.AGE,
        timedelta(days=1),
        "How long the revoking of a task that was not sent yet is remembered. `None` or 0 is for ever.",
    )

    POOL = Setting(
        kinds.choice("prefork", "threads", "solo", "asyncio", "gevent", "eventlet", "custom"),
        "prefork",
        "Where tasks run: in processes, threads, one thread, an event loop, greenlets, or in `TASKQ_CUSTOM_POOL`.",
    )
    CUSTOM_POOL = Setting(
        kinds.optional(kinds.TEXT), None, "The class of the pool `custom`, of your own: `package.module:Class`."
    )
    CONCURRENCY = Setting(
        kinds.optional(kinds.COUNT), None, "How many tasks run at a time. `None` is the number of CPUs."
    )
    ASYNCIO_THREADS = Setting(
        kinds.optional(kinds.COUNT),
        None,
        "Threads of the pool `asyncio`, for tasks that are no coroutines and for synchronous code of those that are. "
        "Each has its own database connections. Further runs wait for a thread. `None`: one for each running task.",
    )
    GREEN_DATABASE_CONNECTIONS = Setting(
        kinds.optional(kinds.COUNT),
        20,
        "Connections to each database that the tasks of one worker with the pool `gevent` or `eventlet` have at a "
        "time. Further tasks wait for one. `None` is no limit.",
    )
    AUTOSCALE = Setting(
        kinds.optional(kinds.AUTOSCALE),
        None,
        "The most and the fewest processes or threads of a pool that grows while tasks wait, such as `(10, 3)`; "
        "instead of `TASKQ_CONCURRENCY`.",
    )
    AUTOSCALE_KEEPALIVE = Setting(
        kinds.SECONDS,
        30.0,
        "Seconds in which not all processes were needed, after which a pool that grew by itself shrinks again, by one "
        "process a second.",
    )
    POOL_RESTARTS = Setting(
        kinds.FLAG,
        False,
        "Whether the command `pool_restart` of remote control may replace the processes of the pool, and have new ones "
        "import the code anew.",
    )
    PREFETCH_MULTIPLIER = Setting(
        kinds.optional(kinds.WHOLE),
        None,
        "Messages that a worker holds for each process or thread; 0 is no limit. `None`: more while tasks are short, "
        "fewer while they are long.",
    )
    MAX_PREFETCH_SIZE = Setting(
        kinds.COUNT, 32 * 1024 * 1024, "Bytes of large messages from which on a worker claims no more. It may hold one."
    )
    OPTIMIZATION = Setting(
        kinds.choice("default", "fair"),
        "default",
        "`fair` hands one task at a time to an idle process.",
    )
    MAX_TASKS_PER_CHILD = Setting(
        kinds.optional(kinds.COUNT),
        None,
        "Tasks after which a process of the pool is replaced. A new process for each task (1) costs some milliseconds.",
    )
    MAX_MEMORY_PER_CHILD = Setting(
        kinds.optional(kinds.COUNT),
        None,
        "Resident memory in KiB above which a process of the pool is replaced after its task.",
    )
    LEASE = Setting(kinds.DURATION, 30.0, "Seconds without a heartbeat after which a worker's messages are taken over.")
    WATCHDOG_TIMEOUT = Setting(
        kinds.optional(kinds.DURATION),
        60.0,
        "Seconds after which a worker whose loop makes no progress ends itself. `None` is never: after 300 seconds, or "
        "five leases, it no longer renews its lease until the loop goes on.",
    )
    SHUTDOWN_TIMEOUT = Setting(
        kinds.SECONDS,
        25.0,
        "Seconds that a warm stop gives to running tasks before it puts them back. Your supervisor has to give more.",
    )
    SOFT_SHUTDOWN_TIMEOUT = Setting(kinds.SECONDS, 0.0, "Seconds that a cold stop gives to running tasks.")

    SERVE = Setting(
        kinds.optional(kinds.TEXT),
        None,
        "Where a worker serves its metrics and probes over HTTP, as with `taskworker --serve`: `127.0.0.1:9100`, "
        "`:9100` or `unix:/run/taskq/%n.sock`. Whoever reaches it may read them.",
    )
    METRICS_TOKEN = Setting(
        kinds.optional(kinds.TEXT),
        None,
        "The token with which Prometheus may read the URL of `taskq.contrib.metrics`, as `Authorization: Bearer`. "
        "`None`: staff alone may, with the permissions to view tasks, messages and workers.",
    )

    TIMEZONE = Setting(
        kinds.ZONE,
        From("Django's `TIME_ZONE`", lambda s: _django_time_zone()),
        "The time zone of naive ETAs and of the times that are shown: a name that pytz knows.",
    )
    WORKER_LOG_FORMAT = Setting(
        kinds.TEXT,
        "[%(asctime)s: %(levelname)s/%(processName)s] %(message)s",
        "Format of the worker's own lines, if `LOGGING` has none.",
    )
    TASK_LOG_FORMAT = Setting(
        kinds.TEXT,
        "[%(asctime)s: %(levelname)s/%(processName)s] %(task_name)s[%(task_id)s]: %(message)s",
        "Format of the lines of tasks, if `LOGGING` has none.",
    )

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"Set {PREFIX}{name} in Django's settings (in tests with override_settings).")

    def clear(self) -> None:
        """Drop all kept values: they are read again on next use."""
        with lock:
            self.__dict__.clear()


#: The table's rows, in the order of the table.
SETTINGS: tuple[Setting[Any], ...] = tuple(row for row in vars(Settings).values() if isinstance(row, Setting))

settings = Settings()


def _forget(*, setting: str, **kwargs: object) -> None:
    if setting.startswith(PREFIX) or setting in {"TIME_ZONE", "DATABASES"}:
        settings.clear()


setting_changed.connect(_forget, dispatch_uid="taskq.conf")


# -- the broker ------------------------------------------------------------


def database_broker_alias() -> str | None:
    """Return the alias of the database that is the broker, or ``None`` when another broker is used."""
    alias: str | None
    try:
        alias = settings.__dict__[" broker alias"]
    except KeyError:
        with lock:
            alias = settings.__dict__[" broker alias"] = _find_broker_alias(settings.BROKER_URL)
    return alias


def _find_broker_alias(url: str) -> str | None:
    scheme, _, alias = url.partition("://")
    return (alias.rstrip("/") or settings.DATABASE) if scheme == "django" else None


def two_databases(broker: str) -> str:
    """Return the error text for a broker in the database ``broker`` and rows in another database."""
    return (
        f"TASKQ_BROKER_URL makes the database {broker!r} the broker, and TASKQ_DATABASE is {settings.DATABASE!r}: "
        "messages and rows are written together, so set both to one alias."
    )


# -- documentation ---------------------------------------------------------

_SECTIONS = {
    "DATABASE": "Database and broker",
    "NAMESPACE": "Queues and routes",
    "SERIALIZER": "Messages",
    "TYPING": "Tasks",
    "IGNORE_RESULT": "States and results",
    "POOL": "Worker",
    "SERVE": "Metrics and probes",
    "TIMEZONE": "Time and logs",
}


def reference() -> Iterable[str]:
    """Yield the lines of ``docs/reference/settings.md``."""
    yield "# Settings"
    yield "\n<!-- Made by `python -m taskq.conf`: change taskq/conf.py instead. -->"
    yield "\nAll are names in Django's settings. Each is optional, and `override_settings` changes it in tests."
    for row in SETTINGS:
        if section := _SECTIONS.get(row.name):
            yield f"\n## {section}"
        default = row.default.words if isinstance(row.default, From) else f"`{row.default!r}`"
        yield f"\n### {row.django_name}\n\n{row.meaning}\n\nDefault: {default}. Must be {row.kind.words}."


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in reference())
