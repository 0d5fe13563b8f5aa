"""The ids of taskq's system checks, a table from which ``docs/reference/checks.md`` is made.

The check functions call an entry to report it: ``UNKNOWN_SETTING("TASKQ_X is ...")``.
The id of a removed check is not used again.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.core.checks import CheckMessage, Error, Warning

from taskq import documentation

__all__ = ["PROBLEMS", "Problem"]


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem that a check can report: its number, a summary, a hint, and the page that says more."""

    number: str
    summary: str
    hint: str
    page: str = ""

    @property
    def id(self) -> str:
        """The id in Django's output and in ``SILENCED_SYSTEM_CHECKS``."""
        return f"taskq.{self.number}"

    def __call__(self, message: str, hint: str | None = None) -> CheckMessage:
        """Return the message for Django; ``hint`` replaces the default hint."""
        level = Error if self.number.startswith("E") else Warning
        hint = hint or self.hint
        if self.page:
            hint = f"{hint} See {documentation.page(self.page)}."
        return level(message, hint=hint, id=self.id)

    def reference(self) -> str:
        """Return the line of ``docs/reference/checks.md``."""
        link = f" See [{self.page}](../{self.page}.md)." if self.page else ""
        return f"- **{self.id}**: {self.summary} {self.hint}{link}"


UNKNOWN_SETTING = Problem("E001", "A `TASKQ_*` setting that does not exist.", "Correct its name, or remove it.")
WRONG_VALUE = Problem(
    "E002", "A setting has a value of the wrong kind.", "Correct the value.", page="reference/settings"
)
BROKER_URL = Problem(
    "E003",
    "`TASKQ_BROKER_URL` or `TASKQ_CONTROL_URL` is not a broker URL.",
    "The default is 'django://', the database.",
)
BROKER_CLIENT = Problem("E004", "The client library of the broker is missing.", "Install it.")
SERIALIZER = Problem(
    "E005",
    "An unknown serializer or compression in `TASKQ_SERIALIZER`, `TASKQ_RESULT_SERIALIZER`, `TASKQ_ACCEPT_CONTENT` "
    "or `TASKQ_COMPRESSION`, or of a task.",
    "Install the package that provides it, or use 'json'.",
)
UNACCEPTED_SERIALIZER = Problem(
    "E006",
    "A serializer that is used for sending is not accepted when reading.",
    "Add it to TASKQ_ACCEPT_CONTENT.",
)
UNDECLARED_QUEUE = Problem(
    "E007",
    "A route or a task names a queue that is not in `TASKQ_QUEUES`, while `TASKQ_CREATE_MISSING_QUEUES` is off.",
    "Add the queue to TASKQ_QUEUES.",
)
TWO_TASKS = Problem("E008", "Two tasks have one name.", "Give one of them another name with @task(name=...).")
TIME_ZONE = Problem("E009", "`TASKQ_TIMEZONE` is not a time zone.", "pytz.all_timezones lists the names.")
UNKNOWN_DATABASE = Problem(
    "E010", "`TASKQ_DATABASE` or `TASKQ_BROKER_URL` names an alias that is not in `DATABASES`.", "Use one that is."
)
UNSUPPORTED_DATABASE = Problem(
    "E011",
    "taskq does not support this database.",
    "taskq runs on PostgreSQL, MariaDB and SQLite.",
    page="topics/database-connections",
)
OLD_SQLITE = Problem("E012", "SQLite is older than 3.35.", "taskq needs RETURNING: use a newer Python or SQLite.")
PSYCOPG2 = Problem(
    "E013", "PostgreSQL is used through psycopg2.", "Install psycopg 3: pip install 'taskq-django[postgres]'."
)
OLD_MARIADB = Problem(
    "E014",
    "MariaDB is older than 10.6, or it is MySQL. Needs a connection: `check --database <alias>`, or `migrate`.",
    "taskq needs FOR UPDATE SKIP LOCKED and DELETE ... RETURNING, which MariaDB has from 10.6.",
)
TIME_LIMITS = Problem(
    "E015", "The soft time limit is not below the hard one.", "Lower TASKQ_SOFT_TIME_LIMIT, or raise TASKQ_TIME_LIMIT."
)
ROUTES = Problem(
    "E016",
    "`TASKQ_QUEUES` or `TASKQ_ROUTES` can't be read, or an exchange is of a type that the database does not have.",
    "Correct the setting.",
    page="topics/routing",
)
UNUSABLE_DATABASE = Problem(
    "E017",
    "A database is configured so that nothing is committed, or nothing can be written.",
    "Give taskq a database whose connections commit by themselves: set TASKQ_DATABASE, or change DATABASES.",
)
NOT_INNODB = Problem(
    "E018",
    "Tables of taskq have no transactions. Needs a connection: `check --database <alias>`, or `migrate`.",
    "ALTER TABLE ... ENGINE=InnoDB, and set default_storage_engine before the next migration.",
)

CUSTOM_POOL = Problem(
    "E019",
    "`TASKQ_CUSTOM_POOL` names no pool, or `TASKQ_POOL` is `custom` and it is not set.",
    "Name a subclass of taskq.worker.pools.base.Pool: 'package.module:Class'.",
    page="topics/pools",
)
PICKLE = Problem(
    "W001",
    "pickle is accepted, and so whoever can write to taskq's tables can run code: in workers by a message, in every "
    "process that reads results by a row. With `TASKQ_SIGNING`, only who has `SECRET_KEY` can.",
    "Leave pickle out of TASKQ_ACCEPT_CONTENT, or set TASKQ_SIGNING.",
    page="topics/security",
)
NO_WAL = Problem(
    "W002",
    "An SQLite file is not in WAL mode, so that readers and the worker block each other.",
    'Set "init_command": "PRAGMA journal_mode=WAL" in the database\'s OPTIONS.',
    page="topics/database-connections",
)
NOT_IMMEDIATE = Problem(
    "W003",
    "SQLite transactions are not immediate, so that they can fail in the middle with 'database is locked'.",
    'Set "transaction_mode": "IMMEDIATE" in the database\'s OPTIONS.',
    page="topics/database-connections",
)
SHORT_TIMEOUT = Problem(
    "W004",
    "An SQLite connection waits less than 20 seconds for its turn to write.",
    'Set "timeout": 20 in the database\'s OPTIONS.',
    page="topics/database-connections",
)
TWO_DATABASES = Problem(
    "W005",
    "`TASKQ_DATABASE` is not the database that is the broker: sending is an error, and workers don't start.",
    "Set TASKQ_DATABASE to the alias, and TASKQ_BROKER_URL to 'django://'.",
)
EAGER = Problem(
    "W006", "`TASKQ_ALWAYS_EAGER` is on. Only with `check --deploy`.", "Tasks run in the web process: it is for tests."
)
KEPT_FOR_EVER = Problem(
    "W007",
    "Rows of ended tasks are never deleted. Only with `check --deploy`.",
    "Set TASKQ_RESULT_EXPIRES and TASKQ_RESULT_FAILURE_EXPIRES.",
)
TASK_LIMITS = Problem(
    "W008",
    "The soft time limit of a task is above its hard one: sending the task is an error.",
    "Lower its soft_time_limit, or raise its time_limit.",
)
UNMATCHED_ROUTE = Problem(
    "W009",
    "A name or a pattern in `TASKQ_ROUTES` matches no task of this project.",
    "Correct it; tasks of other projects, which are sent by name, need no correction.",
    page="topics/routing",
)
UNREAD_QUEUE = Problem(
    "W010",
    "No living worker takes from a queue in which messages wait, or which a route or a task names although "
    "`TASKQ_QUEUES` does not have it. The latter only while workers run. Needs a connection: "
    "`check --database <alias>`, or `migrate`.",
    "Start a worker with -Q, or correct the name.",
    page="topics/routing",
)
OPEN_SCHEMA = Problem(
    "W011",
    "Every role of the PostgreSQL database may create functions in a schema that its connections look into: with "
    "such a function a role can run code as taskq's. Needs a connection: `check --database <alias>`, or `migrate`.",
    "REVOKE CREATE ON SCHEMA ... FROM PUBLIC.",
    page="topics/security",
)

#: Every id, errors first.
PROBLEMS: tuple[Problem, ...] = tuple(value for value in vars().copy().values() if isinstance(value, Problem))
