"""Settings of the test project: everything that differs between places comes from the environment.

A file ``.env`` beside ``manage.py`` is read too; what the environment says wins.
"""

from __future__ import annotations

from pathlib import Path

from django.core.management.utils import get_random_secret_key

from taskq.conf import Env

from .databases import configure

BASE_DIR = Path(__file__).resolve().parent.parent

env = Env()
env.read_env(BASE_DIR / ".env")

# Off unless somebody asks for development, as `make demo` does.
DEBUG = env.bool("DEBUG", default=False)
# Processes that have to agree on it, for sessions or for signed messages, need one in the environment or in .env.
SECRET_KEY = env.str("SECRET_KEY", default="") or get_random_secret_key()
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]", "testserver"])

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "taskq",
    "taskq_admin",
    "testproject.arithmetic",
    "testproject.reports",
    "testproject.shop",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "testproject.urls"
WSGI_APPLICATION = "testproject.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

DATABASES = {
    "default": configure(
        env.str("DATABASE_URL", default=f"sqlite:///{BASE_DIR / 'db.sqlite3'}"),
        conn_max_age=env.int("CONN_MAX_AGE", default=0),
    ),
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

USE_TZ = True
TIME_ZONE = env.str("TIME_ZONE", default="UTC")
STATIC_URL = "static/"
# A request that is too large is refused before it is read.
FILE_UPLOAD_HANDLERS = [
    "testproject.reports.uploads.BoundedUpload",
    "django.core.files.uploadhandler.MemoryFileUploadHandler",
]

TASKQ_BROKER_URL = env.broker_url("TASKQ_BROKER_URL", default="django://")

TASKQ_KEEP_TASK_LOGS = env.bool("TASKQ_KEEP_TASK_LOGS", default=False)

# How long a report rests after each part, in seconds, so that a person can watch its progress. The shop rests too.
REPORTS_PAUSE = env.float("REPORTS_PAUSE", default=0.0)
# The key of the link by which `make demo` logs its reader in. Without it there is no such link.
DEMO_LOGIN = env.str("DEMO_LOGIN", default="")
