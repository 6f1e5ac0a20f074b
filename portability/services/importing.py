"""Importing an export: read twice, first to check all of it, then to take it.

A preview is the import itself, rolled back: its numbers cannot differ from what the import
then does. What is here already stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any, Final, cast

from django.db import transaction

from accounts.services import audit, label_account, record_events
from alerts.models import AlertSettings
from alerts.services.preferences import (
    PreferenceError,
    restore_mutes,
    save_quiet_hours,
)
from keychain.passphrase import WrongPassphrase, open_with_passphrase
from portability.schemas import (
    ExportFileError,
    Header,
    MuteLine,
    SealedLine,
    SettingsLine,
    SubscriptionLine,
    associated_data,
    read_lines,
)
from preferences.services import lock as lock_preferences
from subscriptions.models import normalize_url
from subscriptions.services import (
    NotificationCopy,
    Outcome,
    announce_restored,
    restore_notifications,
    restore_subscriptions,
)
from syncstore.models import ColdStart
from syncstore.services import SignatureDiffers, lock_stores, restore_stores
from walletconnect.crypto.keys import SymKey
from walletconnect.errors import RemoteProtocolError
from walletconnect.json_values import parse_object, take_object
from walletconnect.sync.derivation import NOTIFY_SUBSCRIPTION_STORE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import BinaryIO

    from accounts.models import Account, AccountQuerySet, Device
    from accounts.services import EventDraft
    from portability.schemas import Line
    from walletconnect.identity.did import AccountId

BATCH_SIZE: Final = 500
MAX_REFUSED_SHOWN: Final = 100
KINDS: Final = ("settings", "mutes", "keys", "subscriptions", "notifications")


@dataclass(slots=True)
class Counts:
    """``present``: here already, or nothing to do."""

    new: int = 0
    changed: int = 0
    present: int = 0
    refused: int = 0


@dataclass(slots=True)
class ImportReport:
    """What an import changes, by kind of line, and the lines that it refuses."""

    account: str
    # Whether the file has a sealed part, and whether it was opened.
    has_keys: bool = False
    opened_keys: bool = False
    # Where the file's server receives, if that is not this server's relay.
    other_relay: str = ""
    counts: dict[str, Counts] = field(
        default_factory=lambda: {kind: Counts() for kind in KINDS}
    )
    # The first hundred: line and reason.
    refused: list[tuple[int, str]] = field(default_factory=list)

    @property
    def refused_count(self) -> int:
        return sum(each.refused for each in self.counts.values())

    @property
    def changes(self) -> int:
        return sum(each.new + each.changed for each in self.counts.values())

    def note(self, kind: str, outcome: Outcome) -> None:
        counts = self.counts[kind]
        setattr(counts, outcome, getattr(counts, outcome) + 1)

    def refuse(self, kind: str, line: int, reason: str) -> None:
        self.counts[kind].refused += 1
        if len(self.refused) < MAX_REFUSED_SHOWN:
            self.refused.append((line, reason))

    def to_value(self) -> dict[str, Any]:
        return {
            "account": self.account,
            "hasKeys": self.has_keys,
            "openedKeys": self.opened_keys,
            "otherRelay": self.other_relay,
            "counts": {
                kind: {
                    "new": each.new,
                    "changed": each.changed,
                    "present": each.present,
                    "refused": each.refused,
                }
                for kind, each in self.counts.items()
            },
            "refused": [
                {"line": line, "reason": reason} for line, reason in self.refused
            ],
        }

    @classmethod
    def from_value(cls, value: dict[str, Any]) -> ImportReport:
        return cls(
            account=value["account"],
            has_keys=value["hasKeys"],
            opened_keys=value["openedKeys"],
            # An upload of the release before waits for ten minutes.
            other_relay=value.get("otherRelay", ""),
            counts={kind: Counts(**each) for kind, each in value["counts"].items()},
            refused=[(each["line"], each["reason"]) for each in value["refused"]],
        )


@dataclass(frozen=True, slots=True)
class Keys:
    """The opened sealed part."""

    line: int
    sym_keys: dict[str, SymKey] = field(repr=False)
    stores: dict[str, SymKey] = field(repr=False)


def import_file(
    file: BinaryIO,
    accounts: AccountQuerySet,
    *,
    passphrase: str = "",
    device: Device | None = None,
    dry_run: bool = False,
) -> ImportReport:
    """Take what the file's account does not have here; ``dry_run`` only reports.

    ``accounts`` are those that the caller may change. One transaction. Raises
    ``ExportFileError`` for a file that is malformed, of another account, or not opened
    by ``passphrase``; nothing is changed then.
    """
    file.seek(0)
    # The whole file is checked before anything is changed.
    header, sealed = None, None
    for line in read_lines(file):
        if isinstance(line, Header):
            header = line
        elif isinstance(line, SealedLine):
            sealed = line
    if header is None:
        raise ExportFileError(1, "the file is empty")
    owner = header.account
    account = accounts.at(str(owner)).select_related("user").first()
    if account is None:
        raise ExportFileError(
            1,
            f"the account {owner} is not yours here; sign in with it first",
        )
    report = ImportReport(account.address, has_keys=sealed is not None)
    keys = _open(sealed, owner, passphrase) if sealed and passphrase else None
    report.opened_keys = keys is not None
    if header.is_from_other_relay:
        report.other_relay = header.relay
    file.seek(0)
    with transaction.atomic():
        _apply(account, read_lines(file), keys, report, device=device)
        if report.changes and not dry_run:
            counts = report.counts
            audit(
                "account.imported",
                device=device,
                account=account,
                detail=", ".join(f"{kind}: {counts[kind].new}" for kind in KINDS),
            )
        transaction.set_rollback(dry_run)
    return report


def _open(sealed: SealedLine, owner: AccountId, passphrase: str) -> Keys:
    try:
        text = open_with_passphrase(passphrase, sealed.value, associated_data(owner))
        secrets = parse_object(text, "sealed part")
        sym_keys = map(SymKey.from_hex, take_object(secrets, "symKeys").values())
        return Keys(
            sealed.line,
            {key.topic: key for key in sym_keys},
            {
                name: SymKey.from_hex(text)
                for name, text in take_object(secrets, "stores").items()
            },
        )
    except WrongPassphrase:
        raise ExportFileError(
            sealed.line, "the passphrase does not open the sealed part"
        ) from None
    except RemoteProtocolError as error:
        raise ExportFileError(sealed.line, str(error)) from None


def _apply(
    account: Account,
    lines: Iterator[Line],
    keys: Keys | None,
    report: ImportReport,
    *,
    device: Device | None,
) -> None:
    """In this order because of the locks: stores, subscriptions, users."""
    lock_preferences(account)
    stores = lock_stores(account_id=account.pk, name=NOTIFY_SUBSCRIPTION_STORE)
    if keys is not None:
        _restore_keys(account, keys, report, device=device)
    events: list[EventDraft] = []
    settings_lines: list[SettingsLine] = []
    for kind, group in groupby(lines, key=type):
        if kind is SettingsLine:
            settings_lines += cast("Iterator[SettingsLine]", group)
        elif kind is MuteLine:
            events += _restore_mutes(account, cast("Iterator[MuteLine]", group), report)
        elif kind is SubscriptionLine:
            copies = cast("Iterator[SubscriptionLine]", group)
            while batch := list(islice(copies, BATCH_SIZE)):
                restored = restore_subscriptions(
                    account,
                    [
                        replace(each.copy, sym_key=keys.sym_keys.get(each.copy.topic))
                        if keys
                        else each.copy
                        for each in batch
                    ],
                    stores=stores,
                )
                events += restored.events
                for line, result in zip(batch, restored.results, strict=True):
                    if isinstance(result, Outcome):
                        report.note("subscriptions", result)
                    else:
                        report.refuse("subscriptions", line.line, result)
        elif kind is NotificationCopy:
            events += _restore_notifications(
                account, cast("Iterator[NotificationCopy]", group), report
            )
    if not ColdStart.objects.filter(
        account=account, state=ColdStart.State.RUNNING
    ).exists():
        # A store that is still read from History is written afterwards.
        events += announce_restored(stores)
    for each in settings_lines:
        _restore_settings(account, each, report)
    record_events(events)


def _restore_keys(
    account: Account, keys: Keys, report: ImportReport, *, device: Device | None
) -> None:
    if not keys.stores:
        return
    try:
        joined = restore_stores(account, keys.stores, device=device)
    except SignatureDiffers:
        report.refuse("keys", keys.line, "Sync is on here with another shared store")
    else:
        report.note("keys", Outcome.NEW if joined else Outcome.PRESENT)


def _restore_mutes(
    account: Account, lines: Iterator[MuteLine], report: ImportReport
) -> list[EventDraft]:
    events: list[EventDraft] = []
    while batch := list(islice(lines, BATCH_SIZE)):
        results, restored = restore_mutes(
            account,
            [(normalize_url(each.dapp_url), each.type, each.until) for each in batch],
        )
        events += restored
        for line, is_new in zip(batch, results, strict=True):
            if is_new is None:
                report.refuse("mutes", line.line, "there are too many mutes")
            else:
                report.note("mutes", Outcome.NEW if is_new else Outcome.PRESENT)
    return events


def _restore_notifications(
    account: Account, lines: Iterator[NotificationCopy], report: ImportReport
) -> Sequence[EventDraft]:
    restored = restore_notifications(account, lines)
    counts = report.counts["notifications"]
    counts.new += restored.new
    counts.changed += restored.changed
    counts.present += (
        restored.total - restored.new - restored.changed - restored.refused
    )
    for line in restored.refused_lines:
        report.refuse("notifications", line, "its subscription is not in this inbox")
    counts.refused = restored.refused
    return restored.events


def _restore_settings(
    account: Account, line: SettingsLine, report: ImportReport
) -> None:
    """Fill in what the person has not set here."""
    changed = False
    if (
        line.quiet_hours
        and not AlertSettings.objects.filter(user=account.user).exists()
    ):
        start, end, weekends, time_zone = line.quiet_hours
        try:
            save_quiet_hours(
                account.user,
                start=start,
                end=end,
                weekends=weekends,
                time_zone=time_zone,
            )
        except PreferenceError as error:
            report.refuse("settings", line.line, str(error))
            return
        changed = True
    if line.label and not account.label:
        label_account(account, line.label)
        changed = True
    report.note("settings", Outcome.NEW if changed else Outcome.PRESENT)
