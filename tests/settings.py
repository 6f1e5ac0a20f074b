"""Settings of a test run: its own data directory, database, Redis and limits.

The PostgreSQL cluster in ``.data-test`` is shared by all runs, each with a database of
its own; Redis is one per run, because its publish/subscribe knows no databases.
"""

from __future__ import annotations

import dataclasses
import os
import sys

# Images set it, and then every process of a run compiles all modules anew: a third to a
# half of the time that processes take to start.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

from tests.system import BASE, OURS

# The settings of an installation, as a shell that runs one has them, are not ours.
for name in [name for name in os.environ if name.startswith(OURS)]:
    # A test hands its listening socket to a server that uses these settings.
    if name not in {"DJANGO_SETTINGS_MODULE", "NOTIFYWEB_LISTEN_FD"}:
        del os.environ[name]
os.environ["NOTIFYWEB_DATA_DIR"] = str(BASE / ".data-test")

from notifyweb.embedded.paths import Paths
from notifyweb.settings import *  # noqa: F403
from notifyweb.settings import (
    CACHES,
    CHANNEL_LAYERS,
    DATABASES,
    EMBEDDED_PATHS,
    LIMITS,
    STORAGES,
)

RUN = f"run-{os.getpid()}"
REDIS_PATHS = Paths(EMBEDDED_PATHS.data / "runs" / RUN)
REDIS_URL = f"unix://{REDIS_PATHS.redis_socket}"
CELERY_BROKER_URL = f"redis+socket://{REDIS_PATHS.redis_socket}"
CACHES["default"]["LOCATION"] = REDIS_URL
CHANNEL_LAYERS["default"]["CONFIG"]["hosts"][0]["address"] = REDIS_URL

DATABASES["default"]["TEST"] = {"NAME": f"test_{os.getpid()}"}
DATABASES["default"]["CONN_MAX_AGE"] = 0
WEB_DATABASE_POOL = 0
# Pages of a test name plain files: nothing was collected.
STORAGES["staticfiles"] = {
    "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
}
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = True
DEMO = False
# No worker runs beside these tests: a page that waits for one would wait in vain.
LIMITS = dataclasses.replace(LIMITS, domain_check_wait_ms=0)
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
