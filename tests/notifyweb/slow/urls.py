"""Pages that wait in the database for as long as a test holds ``GATE``."""

from __future__ import annotations

import threading

from asgiref.sync import sync_to_async
from django.db import connection, transaction
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path

from common.clients import client_address
from dashboard.views.responses import download
from notifyweb.urls import urlpatterns as real

GATE = 7_702


def pass_gate() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock_shared(%s)", [GATE])
        cursor.execute("SELECT pg_advisory_unlock_shared(%s)", [GATE])


def query(request):
    pass_gate()
    return HttpResponse("passed")


def in_transaction(request):
    with transaction.atomic():
        pass_gate()
    return HttpResponse("passed")


async def from_coroutine(request):
    await sync_to_async(pass_gate)()
    return HttpResponse("passed")


def stream(request):
    def parts():
        yield b"begun "
        pass_gate()
        yield b"passed"

    return StreamingHttpResponse(parts())


async def coroutine_stream(request):
    async def parts():
        yield b"begun "
        await sync_to_async(pass_gate)()
        yield b"passed"

    return StreamingHttpResponse(parts())


def large(request):
    """64 MiB that are made while they are sent, by the function of every download."""
    parts = (bytes(65536) for _ in range(1024))
    return download(request, parts, name="large", content_type="text/plain")


def leak(request):
    """Take a pooled connection for as long as the process lives."""
    taken = threading.Event()

    def take() -> None:
        pass_gate()
        taken.set()
        threading.Event().wait()

    threading.Thread(target=take, daemon=True).start()
    return HttpResponse("taken" if taken.wait(10) else "not taken")


def client(request):
    return HttpResponse(client_address(request))


urlpatterns = [
    path("slow/client", client),
    path("slow/large", large),
    path("slow/leak", leak),
    path("slow/query", query),
    path("slow/in-transaction", in_transaction),
    path("slow/from-coroutine", from_coroutine),
    path("slow/stream", stream),
    path("slow/coroutine-stream", coroutine_stream),
    *real,
]
