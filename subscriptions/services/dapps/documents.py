"""What a dapp says of itself: did.json and wc-notify-config.json, read, kept and pinned.

Spec: protocol.md, section 5.4; reliability.md, items 20, 21 and 32. Documents are read
outside transactions (``subscriptions.services.dapps.reading``) and kept: for an hour to a day if
good, for two minutes if bad, for seconds (then ever longer) if the network is why. The keys
of the first good reading are pinned. Other keys later wait until a person accepts them,
since somebody who takes a domain over could send as the dapp.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.db import transaction

from accounts.services import EventDraft, EventKind, audit, record_events
from common import clock, entropy, outbound
from common.dapp_urls import NotAnAddress, parse_dapp_url
from common.outbound import OutboundError
from common.wake import enqueue_on_commit
from subscriptions.models import (
    REASON_LENGTH,
    URL_LENGTH,
    DappDocument,
    Subscription,
    SubscriptionJob,
)
from subscriptions.services.dapps.reading import read_dapp
from subscriptions.services.errors import DappUnusable
from walletconnect.identity.did import AppUrl

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

    from accounts.models import Device
    from subscriptions.services.dapps.reading import Reading
    from walletconnect.identity.did import DidWebDocument

READ_BATCH_SIZE: Final = 8
RECHECK_TASK: Final = "subscriptions.recheck_documents"


def normalize_dapp_url(dapp_url: str) -> str:
    """The one spelling of a dapp's URL that is kept, sent and compared."""
    try:
        url = parse_dapp_url(dapp_url)
        outbound.check_url(url.well_known("did.json"))
    except NotAnAddress as error:
        raise DappUnusable(str(error)) from None
    except OutboundError as error:
        raise DappUnusable(f"That address is not reached: {error}.") from None
    return str(url)


# --- reading --------------------------------------------------------------------------


def current_documents(urls: Collection[str]) -> dict[str, DappDocument]:
    """The documents of these dapps, read again where they are due. Uses the network."""
    now = clock.now()
    kept = DappDocument.objects.in_bulk(list(urls), field_name="url")
    due = [url for url in urls if url not in kept or not kept[url].is_current(now)]
    if due:
        keep_readings(read_all(due))
        kept = DappDocument.objects.in_bulk(list(urls), field_name="url")
    return kept


def look_up_dapp(dapp_url: str) -> DappDocument:
    """A dapp's documents for a person who is about to subscribe. Uses the network."""
    url = normalize_dapp_url(dapp_url)
    return current_documents([url])[url]


def read_all(urls: Collection[str]) -> list[Reading]:
    """Ask several dapps at once; a slow one holds nobody up for longer than itself."""
    with ThreadPoolExecutor(max_workers=min(READ_BATCH_SIZE, len(urls))) as pool:
        return list(pool.map(read_dapp, urls))


# --- keeping --------------------------------------------------------------------------


@transaction.atomic
def keep_readings(readings: Collection[Reading]) -> None:
    """Store what was read. A bad reading leaves the last good documents in place."""
    now = clock.now()
    DappDocument.objects.bulk_create(
        [
            DappDocument(
                url=reading.url,
                domain=AppUrl.parse(reading.url).domain[:URL_LENGTH],
                created_at=now,
            )
            for reading in readings
        ],
        ignore_conflicts=True,
    )
    by_url = {reading.url: reading for reading in readings}
    rows = list(
        DappDocument.objects.select_for_update()
        .filter(url__in=list(by_url))
        .order_by("pk")
    )
    changed = [row for row in rows if _take(row, by_url[row.url], now)]
    DappDocument.objects.bulk_update(rows, _READ_FIELDS)
    record_events(_notify_subscribers(changed))


_READ_FIELDS: Final = [
    "public_key_x",
    "authentication_key",
    "changed_keys",
    "name",
    "description",
    "icons",
    "types",
    "fetched_at",
    "checked_at",
    "expires_at",
    "reason",
    "may_pass",
]


def _take(row: DappDocument, reading: Reading, now: datetime) -> bool:
    """Mirror a reading; whether people have to be told.

    They are when the keys are others than the pinned, for the first time, or the types
    are others than before: open pages then offer the new ones.
    """
    row.expires_at = now + (reading.keep_for or _wait_after(row, reading))
    row.checked_at = now
    row.reason = reading.reason[:REASON_LENGTH]
    row.may_pass = reading.may_pass
    if reading.document is None or reading.config is None:
        return False
    is_known = row.fetched_at is not None
    row.fetched_at = now
    row.name = reading.config.name
    row.description = reading.config.description
    row.icons = list(reading.config.icons)
    types = [
        {
            "name": each.scope_name,
            "title": each.name,
            "description": each.description,
        }
        for each in reading.config.types
    ]
    has_other_types = is_known and types != row.types
    row.types = types
    return _compare_keys(row, reading.document, now) or has_other_types


def _wait_after(row: DappDocument, bad: Reading) -> timedelta:
    """Until when a bad reading holds: twice as long as the last if the network is why."""
    longest = settings.LIMITS.document_bad_s
    if not bad.may_pass:
        return timedelta(seconds=entropy.jitter(longest, share=0.1))
    waited = timedelta()
    if row.may_pass and row.expires_at is not None and row.checked_at is not None:
        waited = row.expires_at - row.checked_at
    first = settings.LIMITS.document_unreached_s
    seconds = min(max(2 * waited.total_seconds(), first), longest)
    return timedelta(seconds=entropy.jitter(seconds, share=0.1))


def _compare_keys(row: DappDocument, document: DidWebDocument, now: datetime) -> bool:
    found = (document.key_agreement.hex(), document.authentication_did)
    if not row.public_key_x:
        row.public_key_x, row.authentication_key = found
        return False
    if found == (row.public_key_x, row.authentication_key):
        row.changed_keys = None
        return False
    known = row.changed_keys or {}
    if found == (known.get("publicKeyX"), known.get("authenticationKey")):
        return False
    row.changed_keys = {
        "publicKeyX": found[0],
        "authenticationKey": found[1],
        "seenAt": now.isoformat(),
    }
    audit("dapp.key-changed", subject=row.url, detail=f"now {found[1]}")
    return True


def _notify_subscribers(changed: Collection[DappDocument]) -> list[EventDraft]:
    rows = Subscription.objects.active().filter(
        dapp_url__in=[document.url for document in changed]
    )
    return [
        EventDraft(
            account_id, EventKind.SUBSCRIPTION, f"subscriptions.subscription:{pk}"
        )
        for pk, account_id in rows.values_list("pk", "account_id")
    ]


# --- pins -----------------------------------------------------------------------------


@transaction.atomic
def accept_changed_keys(document: DappDocument, device: Device) -> DappDocument:
    """A person has seen that the dapp's keys changed, and believes the new ones.

    Pins them, and has the person's own subscriptions believe messages signed by them.
    """
    row = DappDocument.objects.select_for_update().get(pk=document.pk)
    if row.changed_keys is not None:
        row.public_key_x = row.changed_keys["publicKeyX"]
        row.authentication_key = row.changed_keys["authenticationKey"]
        row.changed_keys = None
        row.save(update_fields=["public_key_x", "authentication_key", "changed_keys"])
    mine = Subscription.objects.active().of_user(device.user_id)
    believing = list(
        mine.filter(dapp_url=row.url)
        .exclude(dapp_authentication_did=row.authentication_key)
        .select_for_update(of=("self",))
    )
    for subscription in believing:
        subscription.dapp_authentication_did = row.authentication_key
    Subscription.objects.bulk_update(believing, ["dapp_authentication_did"])
    # What the new key signed in the meantime was put off; History has the rest.
    SubscriptionJob.objects.schedule(SubscriptionJob.Kind.HISTORY, believing)
    audit("dapp.key-accepted", device=device, subject=row.url)
    record_events(_notify_subscribers([row]))
    return row


def authentication_dids(urls: Collection[str]) -> Mapping[str, str]:
    """The pinned authentication key of the dapps that are known."""
    rows = DappDocument.objects.filter(url__in=list(urls)).exclude(
        authentication_key=""
    )
    return dict(rows.values_list("url", "authentication_key"))


def read_again(url: str) -> None:
    """The dapp at this address is known to have changed its documents just now."""
    if DappDocument.objects.filter(url=url).update(expires_at=clock.now()):
        enqueue_on_commit(RECHECK_TASK)


def doubt(urls: Collection[str]) -> None:
    """These dapps sign with another key, or name a type that their documents lacked.

    Their documents are read again soon, but no more often than a bad one would be.
    """
    now = clock.now()
    earlier = now - timedelta(seconds=settings.LIMITS.document_bad_s)
    doubted = DappDocument.objects.filter(url__in=list(urls), checked_at__lt=earlier)
    if doubted.update(expires_at=now):
        enqueue_on_commit(RECHECK_TASK)
