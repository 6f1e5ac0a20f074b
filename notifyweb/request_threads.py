"""ASGI middleware: the threads in which requests and sockets use the database.

Django closes a request's connections when it sends ``request_finished``. A request whose
caller disconnected may never get there: Daphne cancels its task after
``application_close_timeout`` and again once a second, and the second cancellation removes
the receivers of ``request_finished`` from the queue of a thread that still waits for the
database. The thread then ends with a pooled connection that nothing returns; after as many
such requests as the pool is large, all others are answered 503.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from asgiref.sync import SyncToAsync, ThreadSensitiveContext
from django.db import connections

if TYPE_CHECKING:
    from notifyweb.asgi_middleware import Application, Event, Receive, Send

logger = logging.getLogger(__name__)


class RequestThread:
    """Runs the synchronous code of one request in a thread that this class owns.

    The connections are closed by the last job of that thread. It is submitted to the
    executor and not awaited, so no cancellation reaches it, and it runs after whatever
    statement the thread is waiting for.
    """

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: Event, receive: Receive, send: Send) -> None:
        executor = ThreadPoolExecutor(1, thread_name_prefix="request")
        try:
            async with ThreadSensitiveContext(executor=executor):
                await self._application(scope, receive, send)
        finally:
            executor.submit(_close_connections)
            executor.shutdown(wait=False)


class SocketThreads:
    """Runs the synchronous code of all browser sockets in a few threads.

    By default it is one thread for the whole process, and one stalled statement keeps every
    other socket from connecting. Channels closes a socket's connections after each call, so
    it does not matter which thread takes the next one.
    """

    def __init__(self, application: Application, threads: int) -> None:
        self._application = application
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="socket")
        self._context = ThreadSensitiveContext(executor=self._executor)

    async def __call__(self, scope: Event, receive: Receive, send: Send) -> None:
        # Set and never left: work that several sockets share outlives each of them.
        SyncToAsync.context_to_thread_executor[self._context] = self._executor
        SyncToAsync.thread_sensitive_context.set(self._context)
        await self._application(scope, receive, send)


def _close_connections() -> None:
    try:
        connections.close_all()
    except Exception:
        # The future is not read by anything, so this is the only report.
        logger.exception("a request's database connection could not be closed")
