"""The settings of the test run, with the pool that a web process has."""

import dataclasses
import os

from common.limits import parse_changes
from tests.settings import *  # noqa: F403
from tests.settings import CACHES, CHANNEL_LAYERS, DATABASES, LIMITS

DATABASES["default"]["NAME"] = os.environ["SLOW_DATABASE"]
REDIS_URL = os.environ["SLOW_REDIS_URL"]
CACHES["default"]["LOCATION"] = REDIS_URL
CHANNEL_LAYERS["default"]["CONFIG"]["hosts"][0]["address"] = REDIS_URL
WEB_DATABASE_POOL = 10
ROOT_URLCONF = "tests.notifyweb.slow.urls"
LIMITS = dataclasses.replace(LIMITS, **parse_changes(os.environ.get("SLOW_LIMITS", "")))
