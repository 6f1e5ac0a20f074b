"""Sending a notification: who gets it, who does not and why, and the rows of it.

Spec: servers/notify/notify-server-api.md, "Notify"; protocol.md, sections 6 and 10.5;
performance.md, "Notify". A call is a handful of queries however many accounts it names.
``sent`` means that the message is stored to be published and will be, whatever happens to
this process; a large call is only recorded here and built by tasks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from django.db import transaction

from castserver.models import Delivery, Notification, Subscriber, Undelivered
from castserver.services.errors import Invalid
from castserver.services.notifications.delivery import (
    CHUNK,
    SEND_TASK,
    Addressee,
    DueDelivery,
    Recipients,
    copy_deliveries,
    publish_deliveries,
)
from castserver.services.notifications.ids import rpc_ids, time_ordered_ids
from common import clock, limits
from common.wake import enqueue_on_commit
from walletconnect.errors import RemoteProtocolError
from walletconnect.identity.did import AccountId
from walletconnect.json_values import has_control_characters
from walletconnect.notify.values import NotifyMessage

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

    from castserver.models import Project


NOT_ALLOWED: Final = "the account does not allow notifications of this type"
TOO_MANY: Final = "the account got too many notifications from this app lately"
MALFORMED: Final = "not a CAIP-10 account"
NOT_FOUND: Final = "not a subscriber"
UNREADABLE: Final = "the key of the subscription cannot be read"


@dataclass(frozen=True, slots=True)
class NotificationDraft:
    """A notification as a dapp writes it.

    ``notification_id`` is the dapp's own: a repeat adds accounts that did not get it, and
    the first content stays.
    """

    type: str
    title: str
    body: str
    icon: str = ""
    url: str = ""
    notification_id: str = ""

    def checked(self) -> NotifyMessage:
        if has_control_characters(self.notification_id):
            raise Invalid("notification_id is one line", field="notification_id")
        try:
            return NotifyMessage(
                title=self.title,
                body=self.body,
                type=self.type,
                icon=self.icon,
                url=self.url,
            ).check_outgoing()
        except RemoteProtocolError as error:
            raise Invalid(error.message, field="notification") from None


@dataclass(frozen=True, slots=True)
class Failure:
    account: str
    reason: str


@dataclass(frozen=True, slots=True)
class NotifyOutcome:
    """Every account of the call is in exactly one of the lists, spelled as given."""

    notification_id: UUID
    sent: tuple[str, ...]
    failed: tuple[Failure, ...]
    not_found: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Audience:
    """How many accounts subscribed, and how many of them allow a type."""

    subscribers: int
    allowing: int


@dataclass(slots=True)
class _Sorting:
    """The accounts of a call, sorted by what is to become of them."""

    spellings: dict[str, list[str]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    malformed: list[str] = field(default_factory=list)
    wanted: dict[str, list[Addressee]] = field(default_factory=dict)
    served: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, accounts: Iterable[str]) -> _Sorting:
        sorting = cls()
        for text in dict.fromkeys(accounts):
            try:
                key = AccountId.parse(text).key
            except RemoteProtocolError:
                sorting.malformed.append(text)
            else:
                sorting.spellings.setdefault(key, []).append(text)
        return sorting

    def take(self, found: Iterable[tuple[Addressee, bool]]) -> None:
        """Sort those who are subscribed by whether they allow the type."""
        for addressee, allows in found:
            key = addressee.account_key
            if allows:
                self.wanted.setdefault(key, []).append(addressee)
                self.failed.pop(key, None)
            elif key not in self.wanted:
                self.failed[key] = NOT_ALLOWED

    def leave_out(self, delivered: Iterable[int]) -> None:
        """Not again to whom an earlier call of the same notification served."""
        known = set(delivered)
        for key, subscribers in list(self.wanted.items()):
            if any(each.pk in known for each in subscribers):
                self.served.add(key)
                del self.wanted[key]

    def refuse(self, keys: Iterable[str], reason: str) -> None:
        for key in keys:
            self.wanted.pop(key, None)
            self.failed[key] = reason

    def outcome(self, notification_id: UUID) -> NotifyOutcome:
        sent = [*self.wanted, *self.served]
        known = {*sent, *self.failed}
        failures = [
            Failure(spelling, reason)
            for key, reason in self.failed.items()
            for spelling in self.spellings[key]
        ]
        failures += [Failure(text, MALFORMED) for text in self.malformed]
        return NotifyOutcome(
            notification_id=notification_id,
            sent=tuple(text for key in sent for text in self.spellings[key]),
            failed=tuple(failures),
            not_found=tuple(
                text
                for key, texts in self.spellings.items()
                if key not in known
                for text in texts
            ),
        )


def notify(
    project: Project, draft: NotificationDraft, accounts: Sequence[str]
) -> NotifyOutcome:
    """Send to these accounts; each ends in one list of the outcome."""
    draft.checked()
    require_known_type(project, draft.type)
    sorting = _Sorting.of(accounts)
    sorting.take(
        (Addressee._make(row[:-1]), draft.type in row[-1])
        for row in Subscriber.objects.of(project.pk)
        .live(clock.now())
        .of_accounts(sorting.spellings)
        .values_list(*Addressee._fields, "scope")
    )
    return _send(project, draft, sorting)


def notify_everyone(project: Project, draft: NotificationDraft) -> NotifyOutcome:
    """Send to every subscriber that allows the type."""
    draft.checked()
    require_known_type(project, draft.type)
    allowing = [
        Addressee._make(row)
        for row in Subscriber.objects.of(project.pk)
        .live(clock.now())
        .filter(scope__contains=[draft.type])
        # An account with several topics is reported as it was spelled last.
        .order_by("id")
        .values_list(*Addressee._fields)
    ]
    sorting = _Sorting()
    for each in allowing:
        sorting.spellings[each.account_key] = [each.account]
    sorting.take((each, True) for each in allowing)
    return _send(project, draft, sorting)


def require_known_type(project: Project, type_id: str) -> None:
    """Refuse a type that the project does not offer and no subscriber has chosen.

    A dapp with its own documents may offer types that are not listed here; subscribers
    who chose one prove that it exists.
    """
    if project.types.filter(type_id=type_id).exists():
        return
    if not audience(project, type_id).allowing:
        raise Invalid(f"the project offers no type {type_id}", field="type")


def audience(project: Project, type_name: str) -> Audience:
    """What ``notify_everyone`` would reach, without sending."""
    live = Subscriber.objects.of(project.pk).live(clock.now())
    allowing = live.filter(scope__contains=[type_name])
    return Audience(
        subscribers=live.values("account_key").distinct().count(),
        allowing=allowing.values("account_key").distinct().count(),
    )


def _send(
    project: Project, draft: NotificationDraft, sorting: _Sorting
) -> NotifyOutcome:
    with transaction.atomic():
        notification, is_new = _notification(project, draft)
        if not is_new:
            sorting.leave_out(
                Delivery.objects.filter(notification=notification).values_list(
                    "subscriber_id", flat=True
                )
            )
        _spend_quota(project, sorting)
        _store(project, notification, sorting=sorting)
        outcome = sorting.outcome(notification.pk)
        _store_undelivered(notification, outcome)
    return outcome


def _notification(
    project: Project, draft: NotificationDraft
) -> tuple[Notification, bool]:
    fresh = Notification(
        project=project,
        idempotency_key=draft.notification_id,
        type=draft.type,
        title=draft.title,
        body=draft.body,
        icon=draft.icon,
        url=draft.url,
        created_at=clock.now(),
    )
    if not draft.notification_id:
        fresh.save(force_insert=True)
        return fresh, True
    Notification.objects.bulk_create([fresh], ignore_conflicts=True)
    # Locked: two calls with one id find each other's deliveries.
    kept = Notification.objects.select_for_update().get(
        project=project, idempotency_key=draft.notification_id
    )
    return kept, kept.pk == fresh.pk


def _spend_quota(project: Project, sorting: _Sorting) -> None:
    """The spam rule: so many notifications of one app to one account."""
    keys = list(sorting.wanted)
    verdicts = limits.consume_all(
        "notify_subscriber", [f"{project.pk} {k}" for k in keys]
    )
    refused = [
        key for key, verdict in zip(keys, verdicts, strict=True) if not verdict.allowed
    ]
    sorting.refuse(refused, TOO_MANY)


def _store(project: Project, notification: Notification, *, sorting: _Sorting) -> None:
    subscribers = [each for rows in sorting.wanted.values() for each in rows]
    if not subscribers:
        return
    due = [
        DueDelivery(pk, rpc_id, subscriber)
        for pk, rpc_id, subscriber in zip(
            time_ordered_ids(len(subscribers)),
            rpc_ids(len(subscribers)),
            subscribers,
            strict=True,
        )
    ]
    if len(due) > CHUNK:
        copy_deliveries(notification, due, sent_at=None)
        enqueue_on_commit(SEND_TASK)
        return
    published = publish_deliveries(Recipients(project, notification, due))
    copy_deliveries(
        notification,
        [each for each in due if each.pk in published],
        sent_at=clock.now(),
    )
    readable = {each.subscriber.account_key for each in due if each.pk in published}
    sorting.refuse(set(sorting.wanted) - readable, UNREADABLE)


def _store_undelivered(notification: Notification, outcome: NotifyOutcome) -> None:
    rows = [(each.account, each.reason) for each in outcome.failed]
    rows += [(account, NOT_FOUND) for account in outcome.not_found]
    Undelivered.objects.bulk_create(
        [
            Undelivered(notification=notification, account=account, reason=reason)
            for account, reason in rows
        ],
        ignore_conflicts=True,
    )
