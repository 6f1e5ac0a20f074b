"""Users: their accounts, devices, events, and the audit log.

The interface for other packages; ``events``, ``devices`` and ``audit`` hold the longer parts.
Accounts are proven in ``identity.services``: one signature is both the login and the
authorization of the device's identity key.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Final

from django.contrib.sessions.models import Session
from django.db import IntegrityError, connection, transaction
from django.utils.crypto import salted_hmac

from accounts.audit import audit, called_by, one_line
from accounts.channels import Channel, Head, UserEvents
from accounts.devices import (
    add_device,
    bind_session,
    device_name,
    device_of_session,
    expire_devices,
    heads_of_sessions,
    is_fresh,
    note_network,
    prove_device,
    rename_device,
    revoke_device,
    revoke_devices,
    revoke_other_devices,
    sign_out_device,
    touch_device,
)
from accounts.events import (
    CatchUp,
    EventDraft,
    Position,
    RecordedEvent,
    catch_up,
    catch_up_all,
    events_after,
    head_of,
    record_events,
)
from accounts.groups import LIVE_GROUP, send_hint
from accounts.models import (
    Account,
    AccountTombstone,
    Device,
    EventKind,
    SignInRequest,
    User,
)
from accounts.sessions import session_digest
from accounts.signals import account_closing, account_removing
from common import clock, retention

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "LIVE_GROUP",
    "AccountTaken",
    "CatchUp",
    "Channel",
    "EventDraft",
    "EventKind",
    "Head",
    "Position",
    "RecordedEvent",
    "UserEvents",
    "add_device",
    "apply_tombstones",
    "audit",
    "bind_session",
    "called_by",
    "catch_up",
    "catch_up_all",
    "device_name",
    "device_of_session",
    "events_after",
    "expire_devices",
    "find_account",
    "head_of",
    "heads_of_sessions",
    "is_fresh",
    "label_account",
    "note_network",
    "prove_device",
    "proven_account",
    "prune",
    "record_events",
    "remove_account",
    "rename_device",
    "revoke_device",
    "revoke_devices",
    "revoke_other_devices",
    "send_hint",
    "session_digest",
    "sign_out_device",
    "start_generation",
    "tombstone_digest",
    "touch_device",
]

LABEL_LENGTH = 64


class AccountTaken(Exception):
    """The account belongs to another user and cannot be added to this one."""

    def __init__(self, address: str) -> None:
        super().__init__(
            "This account already has an inbox of its own here. Sign in with it, or "
            "remove it there first."
        )
        self.address = address


# --- accounts of a user ---------------------------------------------------------------


def find_account(address: str) -> Account | None:
    """The account of a CAIP-10 text, whatever chain and case it is written with."""
    return Account.objects.at(address).select_related("user").first()


@transaction.atomic
def proven_account(address: str, *, user: User | None) -> Account:
    """The account whose wallet has just signed, created if it is new.

    Without ``user`` it signs in, and a new one gets a user of its own. With ``user`` it
    is added to that user; raises ``AccountTaken`` if it belongs to another one.
    """
    account = find_account(address)
    if account is None:
        account = _create_account(address, user)
    if user is not None and account.user_id != user.pk:
        audit("account.link-refused", actor=user, account=account)
        raise AccountTaken(address)
    return account


def _create_account(address: str, user: User | None) -> Account:
    try:
        with transaction.atomic():
            # The name reveals nothing: all we know about a user are the accounts.
            owner = user or User.objects.create_user(
                username=f"wallet-{uuid.uuid4().hex[:16]}"
            )
            account = Account.objects.create(
                user=owner, address=address, created_at=clock.now()
            )
    except IntegrityError:
        # Another request created it at the same moment.
        found = Account.objects.at(address).select_related("user").first()
        if found is None:
            raise
        return found
    audit("account.added", actor=owner, account=account)
    record_events([_account_changed(account)])
    return account


def _account_changed(account: Account) -> EventDraft:
    return EventDraft(
        None, EventKind.ACCOUNT, f"accounts.account:{account.pk}", account.user_id
    )


@transaction.atomic
def label_account(account: Account, label: str) -> None:
    account.label = one_line(label.strip(), longest=LABEL_LENGTH)
    account.save(update_fields=["label"])
    record_events([_account_changed(account)])


# --- removal --------------------------------------------------------------------------


def tombstone_digest(address: str) -> str:
    """The keyed hash that remains of a removed account."""
    mac = salted_hmac("accounts.tombstone", address.lower(), algorithm="sha256")
    return mac.hexdigest()


@transaction.atomic
def remove_account(account: Account, *, by: Device | None) -> None:
    """Delete every row of the account; only a keyed hash remains.

    Receivers of ``account_closing`` put what peers must receive into their outboxes,
    which outlive the account. With the last account of a user, the user, devices and
    sessions are deleted too, unless the user is staff.
    """
    locked = Account.objects.select_for_update().filter(pk=account.pk)
    account = locked.select_related("user").get()
    user = account.user
    account_closing.send(Account, account=account)
    account_removing.send(Account, account=account)
    audit("account.removed", actor=user if by is None else by.user)
    AccountTombstone.objects.get_or_create(
        digest=tombstone_digest(account.address), defaults={"removed_at": clock.now()}
    )
    # On every chain, since the address is the same.
    SignInRequest.objects.filter(
        address__iendswith=f":{account.chain_address}"
    ).delete()
    account.delete()
    if user.accounts.exists() or user.is_staff:
        record_events([EventDraft(None, EventKind.ACCOUNT, "", user_id=user.pk)])
        return
    revoke_devices(user.devices.values_list("pk", flat=True), by=by)
    user.delete()


def apply_tombstones(digests: Iterable[str]) -> int:
    """After a restore, remove the accounts again that were removed since the backup.

    ``digests`` are the tombstones, stored apart from the backup.
    """
    wanted = set(digests)
    removed = [
        account
        for account in Account.objects.select_related("user").iterator()
        if tombstone_digest(account.address) in wanted
    ]
    for account in removed:
        remove_account(account, by=None)
    return len(removed)


@transaction.atomic
def start_generation() -> int:
    """After a restore, invalidate every browser cursor and session.

    Browsers reload everything, and users sign in again.
    """
    User.objects.update(event_generation=uuid.uuid4())
    Session.objects.all().delete()
    devices = revoke_devices(
        Device.objects.active().values_list("pk", flat=True), by=None
    )
    audit("database.restored", detail=f"{len(devices)} devices were signed out")
    return len(devices)


# --- the sweep ------------------------------------------------------------------------


_PRUNE_AUDIT: Final = """
DELETE FROM accounts_auditentry WHERE id IN (
    SELECT id FROM (
        SELECT id, at FROM accounts_auditentry ORDER BY id LIMIT %s
    ) AS oldest WHERE at <= %s
)
"""


def prune() -> int:
    """Delete old events, used sign-in requests, expired sessions and old audit entries."""
    return retention.prune_tables("accounts.prune", _prune_audit)


@transaction.atomic
def _prune_audit() -> int:
    before = retention.cutoff("keep_audit_days")
    if before is None:
        return 0
    with connection.cursor() as cursor:
        # The trigger lets through the deletion of entries older than a month, and only in
        # a transaction that declares it.
        cursor.execute("SET LOCAL notifyweb.prunes_audit = 'on'")
        cursor.execute(_PRUNE_AUDIT, [retention.BATCH_SIZE, before])
        return int(cursor.rowcount)
