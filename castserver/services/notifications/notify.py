"""``notify``: who gets a notification, who does not and why.

Spec: servers/notify/notify-server-api.md, "Notify". A call takes a fixed number of queries,
however many accounts it names. ``sent`` is a promise: the message, or the delivery that it
will be built from, is stored in the transaction that the call is answered in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from django.db import transaction

from castserver.models import Delivery, Notification, Subscriber, Undelivered
from castserver.models.subscribers import ACCOUNT_LENGTH
from castserver.services.errors import Invalid
from castserver.services.notifications.delivery import (
    Addressee,
    deliver,
    due_subscribers,
)
from common import clock, counters, limits
from common.links import NotALink, check_link
from walletconnect.crypto.ethereum import checksum_address
from walletconnect.errors import RemoteProtocolError
from walletconnect.identity.did import AccountId
from walletconnect.json_values import has_control_characters

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

    from castserver.models import Project
    from walletconnect.notify.values import NotifyMessage


NOT_ALLOWED: Final = "the account does not allow notifications of this type"
TOO_MANY: Final = "the account got too many notifications from this app lately"
MALFORMED: Final = "not a CAIP-10 account"
BAD_ADDRESS: Final = "not an address: 0x and 40 hexadecimal digits"
BAD_CHECKSUM: Final = "the letter case of the address is not its checksum (EIP-55)"
NOT_FOUND: Final = "not a subscriber"
UNREADABLE: Final = "the key of the subscription cannot be read"
UUID_TYPE: Final = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE
)
ADDRESS_DIGITS: Final = re.compile(r"[0-9a-fA-F]{40}")


@dataclass(frozen=True, slots=True)
class Failure:
    account: str
    reason: str


@dataclass(frozen=True, slots=True)
class NotifyOutcome:
    """Every account of the call is in exactly one of the lists, as the caller wrote it."""

    notification_id: UUID
    sent: tuple[str, ...]
    failed: tuple[Failure, ...]
    not_found: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Audience:
    """How many accounts are subscribed, and how many of them allow a type."""

    subscribers: int
    allowing: int


@dataclass(slots=True)
class Accounts:
    """The accounts of a call: by account key, how the caller wrote them and their fate."""

    written: dict[str, list[str]] = field(default_factory=dict)
    eligible: dict[str, list[Addressee]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    # Not by key: these have none.
    malformed: list[Failure] = field(default_factory=list)

    def add_subscriber(self, addressee: Addressee, *, allows: bool) -> None:
        """An account with several topics gets it on each that allows the type."""
        key = addressee.account_key
        if allows:
            self.eligible.setdefault(key, []).append(addressee)
            self.failed.pop(key, None)
        elif key not in self.eligible:
            self.failed[key] = NOT_ALLOWED

    def fail(self, keys: Iterable[str], reason: str) -> None:
        for key in keys:
            self.eligible.pop(key, None)
            self.failed[key] = reason

    def left_out(self, reached: Iterable[str]) -> tuple[list[Failure], list[str]]:
        """Failures and accounts that are no subscribers, as the caller wrote them."""
        failed = [
            Failure(text, reason)
            for key, reason in self.failed.items()
            for text in self.written[key]
        ]
        failed += self.malformed
        not_found = []
        reported = {*reached, *self.failed}
        for text in (
            text
            for key, texts in self.written.items()
            if key not in reported
            for text in texts
        ):
            # Subscribers are found in any letter case. Where there is none, a wrong
            # checksum shows that the address was mistyped.
            fault = address_fault(AccountId.parse(text))
            if fault:
                failed.append(Failure(text, fault))
            else:
                not_found.append(text)
        return failed, not_found


def check_content(message: NotifyMessage) -> None:
    """Raise ``Invalid`` unless a dapp may send this: limits, and https for links."""
    try:
        message.check_outgoing()
        for link in (message.icon, message.url):
            if link:
                check_link(link)
    except RemoteProtocolError as error:
        raise Invalid(error.message, field="notification") from None
    except NotALink as error:
        raise Invalid(str(error), field="notification") from None


def address_fault(account: AccountId) -> str:
    """Why no ``eip155`` account can have this address; empty if one can."""
    if account.namespace != "eip155":
        return ""
    digits = account.address[2:]
    if account.address[:2].lower() != "0x" or not ADDRESS_DIGITS.fullmatch(digits):
        return BAD_ADDRESS
    if digits in (digits.lower(), digits.upper()):
        return ""
    is_checksum = checksum_address(f"0x{digits}") == f"0x{digits}"
    return "" if is_checksum else BAD_CHECKSUM


def notify(
    project: Project,
    message: NotifyMessage,
    accounts: Sequence[str],
    *,
    notification_id: str = "",
) -> NotifyOutcome:
    """Send to these accounts.

    ``notification_id`` is the dapp's own: a repeat adds accounts that did not get it,
    and the first content stays.
    """
    check_content(message)
    if has_control_characters(notification_id):
        raise Invalid("notification_id must be one line", field="notification_id")
    require_known_type(project, message.type)
    found = find_accounts(project, message.type, accounts)
    with transaction.atomic():
        notification = store_notification(
            project, message, notification_id=notification_id
        )
        return send_to(project, notification, found)


def find_accounts(project: Project, type_id: str, accounts: Iterable[str]) -> Accounts:
    """Which of these accounts are subscribers and allow the type, in one query."""
    found = Accounts()
    for text in dict.fromkeys(accounts):
        try:
            account = AccountId.parse(text)
        except RemoteProtocolError:
            found.malformed.append(Failure(text, MALFORMED))
            continue
        if address_fault(account) == BAD_ADDRESS:
            found.malformed.append(Failure(text, BAD_ADDRESS))
        else:
            found.written.setdefault(account.key, []).append(text)
    rows = Subscriber.objects.of(project.pk).live(clock.now())
    for row in rows.of_accounts(found.written).values_list(*Addressee._fields, "scope"):
        found.add_subscriber(Addressee._make(row[:-1]), allows=type_id in row[-1])
    return found


def require_known_type(project: Project, type_id: str) -> None:
    """Refuse a name that the project does not offer and no subscriber has chosen.

    A dapp that serves its own documents may offer types that are not listed here;
    a subscriber who chose one proves that it exists. A UUID is never refused, as on the
    servers of 2024: each account that does not allow it fails with that reason.
    """
    if UUID_TYPE.fullmatch(type_id) or project.types.filter(type_id=type_id).exists():
        return
    live = Subscriber.objects.of(project.pk).live(clock.now())
    if not live.filter(scope__contains=[type_id]).exists():
        raise Invalid(f"the project offers no type {type_id}", field="type")


def audience(project: Project, type_name: str, *, also_type: str = "") -> Audience:
    """How many a notification to everyone would reach.

    With ``also_type``, those who allow this other type, too.
    """
    live = Subscriber.objects.of(project.pk).live(clock.now())
    types = [type_name, also_type] if also_type else [type_name]
    allowing = live.filter(scope__contains=types)
    return Audience(
        subscribers=live.values("account_key").distinct().count(),
        allowing=allowing.values("account_key").distinct().count(),
    )


def store_notification(
    project: Project, message: NotifyMessage, *, notification_id: str
) -> Notification:
    """The row of a call, in the caller's transaction; locked if the dapp named it.

    A repeat of ``notification_id`` finds the first one with its content.
    """
    notification = Notification.of(project, message, notification_id=notification_id)
    if not notification_id:
        notification.save(force_insert=True)
        return notification
    Notification.objects.bulk_create([notification], ignore_conflicts=True)
    # Locked, so that two calls with one id see each other's deliveries.
    return Notification.objects.select_for_update().get(
        project=project, idempotency_key=notification_id
    )


def send_to(
    project: Project,
    notification: Notification,
    accounts: Accounts,
    *,
    is_repeat: bool = False,
) -> NotifyOutcome:
    """Deliver to these accounts and record who was left out, in the caller's transaction.

    ``is_repeat``: some of them may have a delivery of this notification already.
    """
    eligible, written = accounts.eligible, accounts.written
    earlier: set[str] = set()
    # Without the dapp's own id no other call shares this notification.
    if notification.idempotency_key or is_repeat:
        subscribers = [each.pk for rows in eligible.values() for each in rows]
        # In this order: a worker may turn what is due into deliveries meanwhile.
        delivered = due_subscribers(notification)
        delivered.update(
            Delivery.objects.filter(
                notification=notification, subscriber_id__in=subscribers
            ).values_list("subscriber_id", flat=True)
        )
        for key, rows in list(eligible.items()):
            if any(each.pk in delivered for each in rows):
                earlier.add(key)
                del eligible[key]
    # Once: to write a UUID takes as long as the rest of this line.
    prefix = str(project.pk)
    buckets = {f"{prefix} {key}": key for key in eligible}
    over = limits.refused("notify_subscriber", list(buckets))
    accounts.fail([buckets[each] for each in over], TOO_MANY)
    readable = deliver(
        project, notification, [each for rows in eligible.values() for each in rows]
    )
    accounts.fail(set(eligible) - readable, UNREADABLE)
    sent = [*eligible, *earlier]
    failed, not_found = accounts.left_out(sent)
    outcome = NotifyOutcome(
        notification_id=notification.pk,
        sent=tuple(text for key in sent for text in written[key]),
        failed=tuple(failed),
        not_found=tuple(not_found),
    )
    if notification.idempotency_key:
        # A repeat may reach accounts that an earlier call did not.
        notification.undelivered.filter(account__in=outcome.sent).delete()
    reasons = [(each.account, each.reason) for each in outcome.failed]
    reasons += [(account, NOT_FOUND) for account in outcome.not_found]
    Undelivered.objects.bulk_create(
        [
            Undelivered(
                notification=notification,
                account=account[:ACCOUNT_LENGTH],
                reason=reason,
            )
            for account, reason in reasons
        ],
        ignore_conflicts=True,
    )
    counters.count("notifications", {"accepted": len(eligible)})
    counters.count(
        "notify_failures",
        {"not found": len(not_found), "refused": len(outcome.failed)},
    )
    return outcome
