"""The settings of the site that a browser looks at: the test project, with the strictest policy that Django knows.

Files come from ``runserver``; pages come in the language of the browser.
"""

from testproject.settings import *  # noqa: F403
from testproject.settings import MIDDLEWARE

DEBUG = True
USE_I18N = True
LANGUAGE_CODE = "en"
REPORTS_PAUSE = 0.0
TASKQ_KEEP_TASK_LOGS = True
MIDDLEWARE = [
    "tests.browser.policy.strict",
    *MIDDLEWARE[:2],
    "django.middleware.locale.LocaleMiddleware",
    *MIDDLEWARE[2:],
]
