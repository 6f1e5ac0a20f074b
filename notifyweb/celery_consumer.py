"""A worker that loses its broker ends, and its supervisor starts another.

Celery can connect again by itself, but now and then such a worker runs on and takes no task
until the watchdog ends it: twice in a storm in which Redis was killed 29 times. What the
worker was doing is done again, as after any other kill.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from celery.worker import consumer

logger = logging.getLogger(__name__)

Base: Any = consumer.Consumer


class Consumer(Base):  # type: ignore[misc] # Any: Celery's stubs lack the class's methods
    def on_connection_error_after_connected(self, exc: Exception) -> None:
        logger.warning("lost Redis, so the worker starts again: %s", type(exc).__name__)
        # Ending in order would wait for running tasks, which cannot be acknowledged.
        os._exit(os.EX_TEMPFAIL)
