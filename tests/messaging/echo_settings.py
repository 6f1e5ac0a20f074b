"""The settings of a real worker that knows the echo handler as well."""

from __future__ import annotations

from notifyweb.settings import *  # noqa: F403
from notifyweb.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.messaging.echo"]
