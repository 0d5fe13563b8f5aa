"""A small project to measure with. Everything that differs comes from the environment.

``DATABASE_URL`` names the database; ``TASKQ_BENCH_APP`` the app with the task:
``taskq_bench.marking`` for the shared bench, ``taskq_bench.plain`` where there is none;
``TASKQ_BENCH_IGNORE=1`` keeps no rows; ``TASKQ_BENCH_SYNCHRONOUS`` is SQLite's pragma;
``TASKQ_BENCH_EXPIRES`` are the seconds for which rows of ended tasks are kept;
``TASKQ_BENCH_CONTROL=0`` starts workers without remote control; ``TASKQ_BENCH_NOTIFY=0`` has them poll;
``TASKQ_BENCH_CONN_MAX_AGE`` is how long they keep connections;
``TASKQ_BENCH_PREPARED=1`` has PostgreSQL prepare what runs often, which Django leaves to its OPTIONS.
"""

from __future__ import annotations

from taskq.conf import Env

env = Env()

SECRET_KEY = "bench"
DEBUG = False
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["django.contrib.contenttypes", "taskq", env.str("TASKQ_BENCH_APP", default="taskq_bench.plain")]

# Connections are kept, as the peers keep theirs.
CONN_MAX_AGE = env.int("TASKQ_BENCH_CONN_MAX_AGE", default=600)
DATABASES = {"default": {**env.db_url("DATABASE_URL"), "CONN_MAX_AGE": CONN_MAX_AGE}}
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    DATABASES["default"]["OPTIONS"] = {
        "timeout": 20,
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous="
        + env.str("TASKQ_BENCH_SYNCHRONOUS", default="NORMAL"),
    }
elif env.bool("TASKQ_BENCH_PREPARED", default=False):
    DATABASES["default"]["OPTIONS"] = {"server_side_binding": True, "prepare_threshold": 5}

TASKQ_IGNORE_RESULT = env.bool("TASKQ_BENCH_IGNORE", default=False)
TASKQ_TRACK_PENDING = not TASKQ_IGNORE_RESULT
# Only if they are asked for: taskq of earlier commits has no such settings, and refuses them.
if not env.bool("TASKQ_BENCH_CONTROL", default=True):
    TASKQ_ENABLE_REMOTE_CONTROL = False
if not env.bool("TASKQ_BENCH_NOTIFY", default=True):
    TASKQ_NOTIFY = False
if expires := env.int("TASKQ_BENCH_EXPIRES", default=0):
    TASKQ_RESULT_EXPIRES = TASKQ_RESULT_FAILURE_EXPIRES = TASKQ_REVOKES_EXPIRE = expires
