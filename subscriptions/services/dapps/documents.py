"""A dapp's did.json and wc-notify-config.json: read, cached and pinned.

Documents are read outside transactions (``common.dapp_documents``) and cached:
for an hour to a day if valid, for two minutes if invalid, for seconds (then ever longer) if
the network failed. The keys of the first valid reading are pinned. Different keys later wait
until a person accepts them, since an attacker who takes over a domain could otherwise send as the
dapp; except that the pinned key has signed which keys come after it.
"""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.db import transaction

from accounts.services import EventDraft, EventKind, audit, record_events
from common import clock, entropy, outbound
from common.dapp_documents import read_dapp
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
from subscriptions.services.dapps.icons import WantedIcon, want_icons
from subscriptions.services.errors import DappUnusable
from walletconnect.errors import RemoteProtocolError
from walletconnect.identity.did import AppUrl
from walletconnect.notify.handover import read_handover

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

    from accounts.models import Device
    from common.dapp_documents import Reading
    from walletconnect.identity.did import DidWebDocument
    from walletconnect.notify.config import NotifyConfig
    from walletconnect.notify.handover import KeyHandover

RECHECK_TASK: Final = "subscriptions.recheck_documents"


def normalize_dapp_url(dapp_url: str) -> str:
    """The normalized URL that is stored, sent and compared. Raises ``DappUnusable``."""
    try:
        url = parse_dapp_url(dapp_url)
        outbound.check_url(url.well_known("did.json"))
    except NotAnAddress as error:
        raise DappUnusable(str(error)) from None
    except OutboundError as error:
        raise DappUnusable(f"That address is not reached: {error}.") from None
    return str(url)


def is_reachable(url: str) -> bool:
    """False for a stored URL from before such addresses were refused."""
    try:
        return normalize_dapp_url(url) == url
    except DappUnusable:
        return False


# --- reading --------------------------------------------------------------------------


def look_up_dapp(dapp_url: str) -> DappDocument:
    """A dapp's documents, read again if they have expired. Uses the network."""
    url = normalize_dapp_url(dapp_url)
    kept = DappDocument.objects.filter(url=url).first()
    if kept is None or not kept.is_current(clock.now()):
        keep_readings([read_dapp(url)])
        kept = DappDocument.objects.get(url=url)
    return kept


# --- keeping --------------------------------------------------------------------------


@transaction.atomic
def keep_readings(readings: Collection[Reading]) -> None:
    """Store what was read. A failed reading keeps the last valid documents."""
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
    changed = [row for row in rows if _apply(row, by_url[row.url], now)]
    DappDocument.objects.bulk_update(rows, _READ_FIELDS)
    record_events(_notify_subscribers(changed))
    want_icons(WantedIcon(row.icons[0], row.url, None) for row in rows if row.icons)


_READ_FIELDS: Final = [
    "public_key_x",
    "authentication_key",
    "changed_keys",
    "previous_keys",
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


def _apply(row: DappDocument, reading: Reading, now: datetime) -> bool:
    """Copy a reading to the row; True if subscribers have to be notified.

    They are when keys other than the pinned ones appear, and when the types change, since
    open pages then offer the new ones.
    """
    longest = settings.LIMITS.document_bad_s
    keep_for = reading.keep_for
    if not keep_for and not reading.may_pass:
        keep_for = timedelta(seconds=entropy.jitter(longest, share=0.1))
    elif not keep_for:
        # Network failures back off: twice as long as the last one was cached.
        waited = timedelta()
        if row.may_pass and row.expires_at is not None and row.checked_at is not None:
            waited = row.expires_at - row.checked_at
        first = settings.LIMITS.document_unreached_s
        seconds = min(max(2 * waited.total_seconds(), first), longest)
        keep_for = timedelta(seconds=entropy.jitter(seconds, share=0.1))
    row.expires_at = now + keep_for
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
    types = offered_types(reading.config)
    has_other_types = is_known and types != row.types
    row.types = types
    return _compare_keys(row, reading.document, now) or has_other_types


def offered_types(config: NotifyConfig) -> list[dict[str, str]]:
    """A dapp's types as they are stored and shown: scope name, title, description."""
    return [
        {
            "name": each.scope_name,
            "title": each.name,
            "description": each.description,
        }
        for each in config.types
    ]


def _compare_keys(row: DappDocument, document: DidWebDocument, now: datetime) -> bool:
    found = (document.key_agreement.hex(), document.authentication_did)
    if not row.public_key_x:
        row.public_key_x, row.authentication_key = found
        return False
    handovers = []
    for text in document.handovers:
        with contextlib.suppress(RemoteProtocolError):
            handovers.append(read_handover(text, now=int(now.timestamp())))
    listed = {each.previous for each in handovers}
    for each in row.previous_keys:
        if each["did"] not in listed:
            # The dapp has ended it early.
            each["until"] = min(each["until"], int(now.timestamp()))
    if found == (row.public_key_x, row.authentication_key):
        row.changed_keys = None
        _move_pins(row)
        return False
    for handover in handovers:
        pinned = handover.previous == row.authentication_key
        if pinned and found == (handover.key_agreement, handover.authentication):
            _follow(row, handover)
            return True
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


def _follow(row: DappDocument, handover: KeyHandover) -> None:
    """Pin the keys that the pinned key has handed over to, for all subscriptions."""
    row.previous_keys = [
        *(each for each in row.previous_keys if each["did"] != handover.previous),
        {"did": handover.previous, "until": handover.expires_at},
    ]
    row.public_key_x = handover.key_agreement
    row.authentication_key = handover.authentication
    row.changed_keys = None
    _move_pins(row)
    audit(
        "dapp.key-handed-over", subject=row.url, detail=f"now {handover.authentication}"
    )


def _move_pins(row: DappDocument) -> None:
    """Also of subscriptions that were requested with previous keys since."""
    previous = [each["did"] for each in row.previous_keys]
    if previous:
        Subscription.objects.active().filter(
            dapp_url=row.url, dapp_authentication_did__in=previous
        ).update(dapp_authentication_did=row.authentication_key)


def trusted_signers(
    subscriptions: Collection[Subscription],
) -> dict[int, frozenset[str]]:
    """The authentication keys whose signatures count, by subscription.

    The pinned one; and while a dapp replaces its keys, those before and after it: a device
    may fetch a message later than it reads the new did.json, or earlier.
    """
    now = clock.now_s()
    rows = DappDocument.objects.filter(
        url__in={each.dapp_url for each in subscriptions}
    )
    chains = {
        row.url: frozenset(
            [
                row.authentication_key,
                *(each["did"] for each in row.previous_keys if each["until"] > now),
            ]
        )
        for row in rows.exclude(previous_keys=[])
    }
    found = {}
    for each in subscriptions:
        pinned = each.dapp_authentication_did
        chain = chains.get(each.dapp_url, frozenset())
        found[each.pk] = chain if pinned in chain else frozenset([pinned])
    return found


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
    """Pin the changed keys of a dapp, which a person has reviewed.

    From then on the person's own subscriptions accept messages signed by the new key.
    Those of others keep the old one until their owners accept, too.
    """
    row = DappDocument.objects.select_for_update().get(pk=document.pk)
    if row.changed_keys is not None:
        # A person broke the chain: what came before does not vouch for these keys.
        row.previous_keys = []
        row.public_key_x = row.changed_keys["publicKeyX"]
        row.authentication_key = row.changed_keys["authenticationKey"]
        row.changed_keys = None
        row.save(
            update_fields=[
                "public_key_x",
                "authentication_key",
                "changed_keys",
                "previous_keys",
            ]
        )
    mine = Subscription.objects.active().of_user(device.user_id)
    accepting = list(
        mine.filter(dapp_url=row.url)
        .exclude(dapp_authentication_did=row.authentication_key)
        .select_for_update(of=("self",))
    )
    for subscription in accepting:
        subscription.dapp_authentication_did = row.authentication_key
    Subscription.objects.bulk_update(accepting, ["dapp_authentication_did"])
    # Messages by the new key were deferred for a day; older ones are in History.
    SubscriptionJob.objects.schedule(SubscriptionJob.Kind.HISTORY, accepting)
    audit("dapp.key-accepted", device=device, subject=row.url)
    record_events(_notify_subscribers([row]))
    return row


def authentication_dids(urls: Collection[str]) -> Mapping[str, str]:
    """The pinned authentication keys, by URL; unknown dapps are left out."""
    rows = DappDocument.objects.filter(url__in=list(urls)).exclude(
        authentication_key=""
    )
    return dict(rows.values_list("url", "authentication_key"))


def expire_now(url: str) -> None:
    """Have the documents read again: the dapp has just changed them."""
    if DappDocument.objects.filter(url=url).update(expires_at=clock.now()):
        enqueue_on_commit(RECHECK_TASK)


def mark_stale(urls: Collection[str]) -> None:
    """Have documents read again that messages contradict: another key, an unknown type.

    At most as often as an invalid document is read again, since messages can be forged.
    """
    now = clock.now()
    earlier = now - timedelta(seconds=settings.LIMITS.document_bad_s)
    stale = DappDocument.objects.filter(url__in=list(urls), checked_at__lt=earlier)
    if stale.update(expires_at=now):
        enqueue_on_commit(RECHECK_TASK)
