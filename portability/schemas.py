"""The lines of an export (docs/export.md): read into values, with the line in every error.

A file is refused as a whole if it is not an export of version 1 from its first line to its
last. Whether this server takes what a line holds is decided in ``services.importing``.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, TypeAlias

from django.conf import settings

from keychain.passphrase import NotSealed, check_sealed
from keychain.webpush import application_server_key
from subscriptions.models import Subscription
from subscriptions.services import NotificationCopy, SubscriptionCopy
from walletconnect.crypto.keys import parse_topic
from walletconnect.errors import RemoteProtocolError
from walletconnect.identity.did import AccountId
from walletconnect.json_values import (
    JsonObject,
    malformed,
    parse_object,
    require_integer,
    require_line,
    require_object,
    require_text,
    shown_line,
    take_integer,
    take_line,
    take_optional_line,
)
from walletconnect.notify.scope import ScopeMap
from walletconnect.notify.values import Metadata, NotifyMessage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

FORMAT: Final = "notifyweb-account"
VERSION: Final = 1
# A line of sealed keys is the longest: about 150 bytes for each subscription.
MAX_LINE_BYTES: Final = 1024 * 1024
_MAX_RELAY_URL: Final = 2048
_MAX_TOKEN: Final = 64 * 1024
_MAX_EXPIRY: Final = 10**11 - 1
# Kinds in their order; ``sealed`` and ``settings`` occur at most once.
ORDER: Final = (
    "header",
    "settings",
    "mute",
    "sealed",
    "subscription",
    "notification",
    "end",
)
COUNTED: Final = ("mute", "subscription", "notification")
_ONCE: Final = frozenset({"header", "settings", "sealed", "end"})


class ExportFileError(Exception):
    """The file is refused as a whole, because of this line; nothing was changed."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"Line {line}: {reason}.")
        self.line = line
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Header:
    line: int
    account: AccountId
    # Of the server that wrote the file; empty in files of earlier releases.
    relay: str
    # If that relay is the server's own: ``own_relay_name``.
    relay_name: str

    @property
    def is_from_other_relay(self) -> bool:
        """Two servers with relays of their own may call them by the same address, each
        on its machine; a renamed server still has the relay of its older files."""
        name = own_relay_name()
        if name and self.relay_name:
            return name != self.relay_name
        return self.relay != own_relay()


@dataclass(frozen=True, slots=True)
class SettingsLine:
    line: int
    label: str
    # Start, end ("22:00"), weekends, time zone; None if the person had set nothing.
    quiet_hours: tuple[str, str, bool, str] | None


@dataclass(frozen=True, slots=True)
class MuteLine:
    line: int
    dapp_url: str
    type: str
    until: datetime | None


@dataclass(frozen=True, slots=True)
class SealedLine:
    line: int
    value: JsonObject


@dataclass(frozen=True, slots=True)
class SubscriptionLine:
    line: int
    copy: SubscriptionCopy


Line: TypeAlias = "Header | SettingsLine | MuteLine | SealedLine | SubscriptionLine | NotificationCopy"


def own_relay() -> str:
    """The relay of this server, by the address that wallets use."""
    embedded = settings.EMBEDDED_RELAY
    return str(settings.RELAY_PUBLIC_URL if embedded else settings.RELAY_URL)


def own_relay_name() -> str:
    """Names the relay of this installation, whatever its address; empty for another's.

    A digest of the public key for Web Push: no other installation has it, and a restored
    backup has.
    """
    if not settings.EMBEDDED_RELAY:
        return ""
    return hashlib.sha256(application_server_key().encode()).hexdigest()[:32]


def associated_data(account: AccountId) -> bytes:
    """What the sealed part is bound to: it opens in no other account's file."""
    return f"{FORMAT} {VERSION} {account.key}".encode()


def read_lines(file: BinaryIO) -> Iterator[Line]:
    """Every line but the end record, checked against its place. Raises ``ExportFileError``."""
    counts = dict.fromkeys(COUNTED, 0)
    topics: set[str] = set()
    place, number = 0, 0
    while raw := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(raw) > MAX_LINE_BYTES:
            raise ExportFileError(number, "the line is too long")
        try:
            members = parse_object(raw, "line: a JSON object is expected")
            kind = take_line(members, "kind", max_length=32)
        except RemoteProtocolError as error:
            raise ExportFileError(number, str(error)) from None
        if ORDER[place] == "end":
            raise ExportFileError(number, "something follows the end record")
        position = ORDER.index(kind) if kind in ORDER else -1
        is_first = kind == "header"
        is_repeated = position == place and kind in _ONCE and not is_first
        if position < place or is_repeated or is_first != (number == 1):
            raise ExportFileError(
                number, "this is not the kind of line that belongs here"
            )
        place = position
        try:
            if kind == "end":
                _check_counts(number, members, counts)
                continue
            line = _READERS[kind](number, members)
        except (RemoteProtocolError, NotSealed) as error:
            raise ExportFileError(number, str(error)) from None
        if kind in counts:
            counts[kind] += 1
        if isinstance(line, SubscriptionLine):
            if line.copy.topic in topics:
                raise ExportFileError(number, "this topic occurs twice")
            topics.add(line.copy.topic)
        yield line
    if ORDER[place] != "end":
        raise ExportFileError(
            number + 1,
            "the end record is missing: the file is not complete",
        )


def _check_counts(number: int, members: JsonObject, counts: dict[str, int]) -> None:
    for kind, count in counts.items():
        if take_integer(members, f"{kind}s") != count:
            raise ExportFileError(
                number,
                "the file has another number of lines than its end record",
            )


def _header(number: int, members: JsonObject) -> Header:
    if members.get("format") != FORMAT:
        raise ExportFileError(number, "this file is not an export of an account")
    if members.get("version") != VERSION:
        raise ExportFileError(
            number,
            f"this server reads version {VERSION} of the format only",
        )
    relay = take_optional_line(members, "relay", max_length=_MAX_RELAY_URL)
    name = take_optional_line(members, "relayName", max_length=_MAX_RELAY_URL)
    account = AccountId.parse(members.get("account"))
    return Header(number, account, relay or "", name or "")


def _settings(number: int, members: JsonObject) -> SettingsLine:
    quiet = members.get("quietHours")
    quiet_hours = None
    if quiet is not None:
        found = require_object(quiet, "quietHours")
        weekends = found.get("weekends")
        if not isinstance(weekends, bool):
            raise malformed("weekends")
        quiet_hours = (
            take_line(found, "from", max_length=16),
            take_line(found, "until", max_length=16),
            weekends,
            take_line(found, "timeZone", max_length=64),
        )
    label = shown_line(
        require_text(members.get("label"), "label", max_length=256), max_length=64
    )
    return SettingsLine(number, label, quiet_hours)


def _mute(number: int, members: JsonObject) -> MuteLine:
    return MuteLine(
        number,
        take_line(members, "dappUrl", max_length=2048),
        take_line(members, "type", max_length=64),
        _optional_time(members, "until"),
    )


def _sealed(number: int, members: JsonObject) -> SealedLine:
    check_sealed(members)
    return SealedLine(number, members)


def _subscription(number: int, members: JsonObject) -> SubscriptionLine:
    added_by = members.get("addedBy")
    if added_by not in Subscription.AddedBy.values:
        raise malformed("addedBy")
    return SubscriptionLine(
        number,
        SubscriptionCopy(
            topic=parse_topic(members.get("topic")),
            metadata=Metadata.from_value(members.get("metadata")),
            scope=ScopeMap.from_value(members.get("scope")),
            expiry=take_integer(members, "expiry", minimum=1, maximum=_MAX_EXPIRY),
            created_at=_time(members, "createdAt"),
            ended_at=_optional_time(members, "endedAt"),
            end_reason=shown_line(members.get("endReason"), max_length=200),
            added_by=Subscription.AddedBy(added_by),
        ),
    )


def _notification(number: int, members: JsonObject) -> NotificationCopy:
    # Texts are cut and freed of NUL as those of a dapp are.
    for name in ("type", "title", "body", "icon", "url"):
        if not isinstance(members.get(name), str):
            raise malformed(name)
    note = NotifyMessage.from_value(members)
    rpc_id = take_line(members, "rpcId", max_length=19)
    if not (rpc_id.isascii() and rpc_id.isdecimal()):
        raise malformed("rpcId")
    return NotificationCopy(
        line=number,
        topic=parse_topic(members.get("topic")),
        rpc_id=require_integer(int(rpc_id), "rpcId", minimum=1, maximum=2**63 - 1),
        notification_id=require_line(
            members.get("notificationId"), "notificationId", max_length=256
        ),
        type=note.type,
        title=note.title,
        body=note.body,
        icon=note.icon,
        url=note.url,
        message_auth=require_line(
            members.get("messageAuth"), "messageAuth", max_length=_MAX_TOKEN
        ),
        published_at=_time(members, "publishedAt"),
        received_at=_time(members, "receivedAt"),
        read_at=_optional_time(members, "readAt"),
        server_read_at=_optional_time(members, "serverReadAt"),
        archived_at=_optional_time(members, "archivedAt"),
        snoozed_until=_optional_time(members, "snoozedUntil"),
    )


def _time(members: JsonObject, name: str) -> datetime:
    text = take_line(members, name, max_length=40)
    try:
        found = datetime.fromisoformat(text)
        # At the edges of the calendar the conversion leaves it.
        at = found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise malformed(name) from None
    if found.tzinfo is None:
        raise malformed(name)
    return at


def _optional_time(members: JsonObject, name: str) -> datetime | None:
    return None if members.get(name) is None else _time(members, name)


_READERS: Final[dict[str, Callable[[int, JsonObject], Line]]] = {
    "header": _header,
    "settings": _settings,
    "mute": _mute,
    "sealed": _sealed,
    "subscription": _subscription,
    "notification": _notification,
}
