"""The Cast Server that our accounts watch: its did.json, read and kept.

Protocol.md, section 10.1; reliability.md, items 20, 21 and 32. Which server it is, the
operator says (``CAST_SERVER_URL``), so its keys are believed as they are found there, over
the guarded client; a change of keys is in the audit log before they are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.db import transaction

from accounts.services import audit
from common import clock
from common.backoff import Backoff
from common.work_queue import fresh_work
from subscriptions.models.dapps import REASON_LENGTH
from subscriptions.models.watches import AccountWatch, WatchedServer
from subscriptions.services.dapps.reading import Reading, read_did_document

if TYPE_CHECKING:
    from datetime import datetime

    from walletconnect.identity.did import DidWebDocument

BACKOFF: Final = Backoff(first_s=5.0, max_s=300.0)


def watched_server() -> WatchedServer:
    """The row of the server that is set; no network."""
    found = WatchedServer.objects.filter(url=settings.CAST_SERVER_URL).first()
    if found is not None:
        return found
    row = WatchedServer(url=settings.CAST_SERVER_URL, created_at=clock.now())
    WatchedServer.objects.bulk_create([row], ignore_conflicts=True)
    return WatchedServer.objects.get(url=row.url)


def up_to_date(server: WatchedServer) -> WatchedServer:
    """The server with its document read again if that is due. Uses the network.

    A document that cannot be read now leaves the last good one in place.
    """
    if server.is_current(clock.now()):
        return server
    return _keep(server.pk, read_did_document(server.url))


@transaction.atomic
def _keep(pk: int, reading: Reading) -> WatchedServer:
    row = WatchedServer.objects.select_for_update().get(pk=pk)
    now = clock.now()
    if reading.document is None:
        row.reason = reading.reason[:REASON_LENGTH]
        row.attempts = min(row.attempts + 1, 100)
        row.expires_at = now + BACKOFF.delay(row.attempts)
    else:
        row.reason, row.attempts = "", 0
        row.fetched_at, row.expires_at = now, now + reading.keep_for
        _take_keys(row, reading.document, now)
    row.save()
    return row


def _take_keys(row: WatchedServer, document: DidWebDocument, now: datetime) -> None:
    found = (document.key_agreement.hex(), document.authentication_did)
    if found == (row.public_key, row.authentication_did):
        return
    if row.is_usable:
        audit("cast-server.key-changed", subject=row.url, detail=f"now {found[1]}")
        # It knows none of our watches under its new keys.
        AccountWatch.objects.filter(server=row).update(**fresh_work())
    row.public_key, row.authentication_did = found
