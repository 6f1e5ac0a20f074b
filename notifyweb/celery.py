"""The Celery application; its settings are those that begin with ``CELERY_``."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING

from celery import Celery
from celery.signals import beat_init, setup_logging, worker_init, worker_ready

if TYPE_CHECKING:
    from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "notifyweb.settings")
# Celery warns root because of pickled tasks; ours are JSON only.
warnings.filterwarnings("ignore", message="(?s).*superuser privileges")

app = Celery("notifyweb")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@setup_logging.connect
def keep_our_logging(**_: Any) -> None:
    """Django has set it up; Celery's own would print what we redact."""


@worker_init.connect
@beat_init.connect
def refuse_unfit(**_: Any) -> None:
    """No task runs on a database of another version or with a wrong key."""
    if os.environ.get("NOTIFYWEB_SUPERVISED"):
        return
    from django.db import connection

    from notifyweb.environment import SettingError
    from notifyweb.startup import refuse_to_start_if_unfit

    try:
        refuse_to_start_if_unfit()
    except SettingError as error:
        raise SystemExit(str(error)) from None
    finally:
        connection.close()


@worker_ready.connect
def begin(**_: Any) -> None:
    """The first canary shows at once that tasks are taken up."""
    from notifyweb import schedule

    for name in (schedule.CANARY, *schedule.AT_START):
        app.send_task(name)
