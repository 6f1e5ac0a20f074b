"""The Cast Server that our accounts watch: its did.json, read and stored.

The operator configures the server (``CAST_SERVER_URL``), so its keys are trusted as they are
served there and not pinned; a change of keys is in the audit log before they are used.
"""

from __future__ import annotations

from typing import Final

from django.conf import settings
from django.db import transaction

from accounts.services import audit
from common import clock
from common.backoff import Backoff
from common.dapp_documents import read_did_document
from common.work_queue import fresh_work
from subscriptions.models.dapps import REASON_LENGTH
from subscriptions.models.watches import AccountWatch, WatchedServer

# Enough for the longest delay of the back-off.
MAX_ATTEMPTS_COUNTED: Final = 100
BACKOFF: Final = Backoff(first_s=5.0, max_s=300.0)


def watched_server() -> WatchedServer:
    """The row of the configured server; no network."""
    found = WatchedServer.objects.filter(url=settings.CAST_SERVER_URL).first()
    if found is not None:
        return found
    row = WatchedServer(url=settings.CAST_SERVER_URL, created_at=clock.now())
    WatchedServer.objects.bulk_create([row], ignore_conflicts=True)
    return WatchedServer.objects.get(url=row.url)


def up_to_date(server: WatchedServer) -> WatchedServer:
    """The server, with its document read again if it has expired. Uses the network.

    A document that cannot be read now leaves the last valid one in place.
    """
    if server.is_current(clock.now()):
        return server
    reading = read_did_document(server.url)
    with transaction.atomic():
        row = WatchedServer.objects.select_for_update().get(pk=server.pk)
        now = clock.now()
        if reading.document is None:
            row.reason = reading.reason[:REASON_LENGTH]
            row.attempts = min(row.attempts + 1, MAX_ATTEMPTS_COUNTED)
            row.expires_at = now + BACKOFF.delay(row.attempts)
        else:
            row.reason, row.attempts = "", 0
            row.fetched_at, row.expires_at = now, now + reading.keep_for
            public_key = reading.document.key_agreement.hex()
            did = reading.document.authentication_did
            changed = (public_key, did) != (row.public_key, row.authentication_did)
            if changed and row.is_usable:
                audit("cast-server.key-changed", subject=row.url, detail=f"now {did}")
                # Our watches are encrypted to the old keys: all requests start again.
                AccountWatch.objects.filter(server=row).update(**fresh_work())
            row.public_key, row.authentication_did = public_key, did
        row.save()
    return row
