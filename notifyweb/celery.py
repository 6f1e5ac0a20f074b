"""The Celery application; its settings are those that begin with ``CELERY_``."""

from __future__ import annotations

import os
import signal
import sys
import time
import warnings
from typing import TYPE_CHECKING

from celery import Celery
from celery.signals import (
    beat_init,
    setup_logging,
    task_postrun,
    task_prerun,
    worker_init,
    worker_ready,
    worker_shutting_down,
)

from notifyweb.logs import redact_uncaught_errors

if TYPE_CHECKING:
    from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "notifyweb.settings")
# Celery prefers these variables to Django's settings, and they may belong to another program
# on the machine (``CELERY_BROKER_URL``).
for name in [name for name in os.environ if name.startswith("CELERY_")]:
    del os.environ[name]
for name in ("BROKER_URL", "RESULT_BACKEND", "LOADER", "CONFIG_MODULE", "SKIP_CHECKS"):
    os.environ.pop(name, None)
# Celery warns root about pickled tasks; ours are JSON only.
warnings.filterwarnings("ignore", message="(?s).*superuser privileges")

# Of tasks that run, by task id.
_started_at: dict[str, float] = {}

redact_uncaught_errors()
app = Celery("notifyweb")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@setup_logging.connect
def keep_logging_config(**_: Any) -> None:
    """Logging is configured by Django; Celery's own handlers would not redact."""


@worker_init.connect
@beat_init.connect
def check_before_start(**_: Any) -> None:
    """Refuse to run tasks with another version's schema or a wrong key."""
    if os.environ.get("NOTIFYWEB_SUPERVISED"):
        return
    from django.db import connection

    from notifyweb.command_line import WRONG_SETTING
    from notifyweb.environment import SettingError
    from notifyweb.startup import check_startup

    try:
        check_startup()
    except SettingError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(WRONG_SETTING) from None
    finally:
        connection.close()


@beat_init.connect
def stop_between_ticks(sender: Any, **_: Any) -> None:
    """Let beat end after the tick that it is in.

    Celery's handler writes the schedule inside the signal handler, on the connection whose
    lock the interrupted query may hold: beat would wait for itself until it is killed.
    """

    def stop(*_: object) -> None:
        sender.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)


@worker_ready.connect
def resume_work(sender: Any, **_: Any) -> None:
    """Take over what a killed worker left behind now, not at the next sweep."""
    from common import wake
    from notifyweb import schedule
    from notifyweb.task_queues import ROUTES

    wake.forget_wake_ups()
    own = set(sender.app.amqp.queues.consume_from)
    for name in schedule.AT_START:
        if ROUTES[name]["queue"] in own:
            app.send_task(name)


@task_prerun.connect
def allow_next_wake_up(task_id: str, task: Any, args: Any, **_: Any) -> None:
    from common import wake

    wake.wake_up_started(task.name, args or ())
    _started_at[task_id] = time.monotonic()


@task_postrun.connect
def record_run(
    task_id: str, task: Any, retval: Any, state: str | None = None, **_: Any
) -> None:
    """For ``/ops``: how long the task took, and why it failed."""
    from common import task_runs
    from notifyweb.logs import redact

    started = _started_at.pop(task_id, None)
    if started is None:
        return
    error = ""
    if state not in {None, "SUCCESS", "IGNORED", "RETRY"}:
        error = redact(f"{type(retval).__name__}: {retval}")
    milliseconds = round((time.monotonic() - started) * 1000)
    task_runs.record_run(task.name, milliseconds, error)


@worker_shutting_down.connect
def take_no_more_work(**_: Any) -> None:
    from common import drain

    drain.stopping.set()
