"""A device without a browser: it signs in, follows the account's events and prints them.

It is a session like any other: it appears on the page of devices, has an identity key and a
position in the stores, and can be signed out from another device.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, urlsplit

from django.conf import settings

from accounts.models import Account, Device, EventKind
from accounts.services import (
    events_after,
    head_of,
    remove_account,
    sign_out_device,
    touch_device,
)
from common import clock, entropy
from dashboard.pages.sync import update_rows, updates_of
from demonstration.run import require_running_system
from identity import services as identity
from subscriptions.models import NotifyMessageRecord, Subscription
from syncstore.models import Store
from syncstore.services import enable_sync, message_to_sign
from walletconnect.crypto.ethereum import address_of, sign_eip191

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from accounts.models import AccountEvent

POLL_S: Final = 0.2
USER_AGENT: Final = "notifyweb-device curl/terminal"
_KEY: Final = re.compile(r"(?:0x)?([0-9a-fA-F]{64})")


@dataclass(frozen=True, slots=True)
class Line:
    """Something that the device received."""

    kind: str
    text: str
    at: datetime

    def to_value(self) -> dict[str, str]:
        return {"kind": self.kind, "text": self.text, "at": self.at.isoformat()}


def demo_key(text: str) -> bytes:
    """The demo wallet's key in a link of the demo, or written as hex."""
    fragment = urlsplit(text).fragment
    values = parse_qs(fragment).get("key", [text.strip()])
    match = _KEY.fullmatch(values[0])
    if match is None:
        raise ValueError(
            "this is neither a link of the demo (…/join#key=…) nor 64 hex digits"
        )
    return bytes.fromhex(match[1])


@dataclass(slots=True)
class TerminalDevice:
    report: Callable[[Line], None]
    private_key: bytes | None = None
    account: Account | None = None
    device: Device | None = None
    # Whether the account was made here, and has to be removed.
    is_own: bool = False
    _sequence: int = 0
    _update_pk: int = 0

    def join(self) -> None:
        """Sign both texts, as a browser with a demo wallet does."""
        require_running_system()
        if self.private_key is None:
            self.private_key, self.is_own = entropy.key_bytes(), True
        key = self.private_key
        address = f"eip155:1:{address_of(key)}"
        session = entropy.token_hex(16)
        request = identity.begin_sign_in(
            session, account=address, origin=settings.PUBLIC_URL
        )
        self.device = identity.complete_sign_in(
            session,
            nonce=request.nonce,
            signature=sign_eip191(request.message, key),
            user_agent=USER_AGENT,
        )
        account = Account.objects.at(address).select_related("user").get()
        if not account.is_demo:
            Account.objects.filter(pk=account.pk).update(is_demo=True)
        self.account = account
        enable_sync(account, sign_eip191(message_to_sign(account), key), self.device)
        self._sequence = head_of(account.user_id).sequence
        newest = updates_of(account.user_id).order_by("-pk").first()
        self._update_pk = newest.pk if newest else 0
        stores = Store.objects.filter(account=account).count()
        count = Subscription.objects.active().of(account).count()
        self._show("signed in", f"{self.device.name} as {account.address}")
        self._show("synced", f"{stores} stores, {count} subscriptions")
        if self.is_own:
            self._show("join", f"{settings.PUBLIC_URL}/join#key={key.hex()}")

    def follow(self, *, seconds: float | None = None) -> None:
        """Print events until the time is over or the device is signed out."""
        device, account = self.device, self.account
        if device is None or account is None:
            return
        end = None if seconds is None else clock.monotonic() + seconds
        while end is None or clock.monotonic() < end:
            for event in events_after(account.user, self._sequence):
                self._sequence = event.sequence
                self._show_event(event)
            found = updates_of(account.user_id).filter(pk__gt=self._update_pk)
            for row in update_rows(found.order_by("pk")[:200]):
                self._update_pk = row.update.pk
                update = row.update
                self._show(
                    "sync",
                    f"{row.item} · {update.action} · {row.label} · by {row.who}",
                    row.update.at,
                )
            device.refresh_from_db()
            if not device.is_active():
                by = device.revoked_by
                where = f" from {by.name}" if by and by.pk != device.pk else ""
                self._show("signed out", f"This device was signed out{where}.")
                return
            touch_device(device)
            time.sleep(POLL_S)

    def leave(self) -> None:
        """Sign out; an account that was made here goes with its last device."""
        if self.device is None or self.account is None:
            return
        sign_out_device(self.device)
        others = Device.objects.active().filter(user_id=self.account.user_id)
        if self.is_own and not others.exists():
            remove_account(self.account, by=None)

    def _show_event(self, event: AccountEvent) -> None:
        table, _, key = event.subject.partition(":")
        if event.kind == EventKind.SYNC or not key.isdecimal():
            return
        if table == "subscriptions.notifymessagerecord":
            record = NotifyMessageRecord.objects.filter(pk=key).first()
            text = record.title if record else "deleted"
        elif table == "subscriptions.subscription":
            row = Subscription.objects.filter(pk=key).first()
            types = ", ".join(sorted(row.effective_types)) if row else ""
            text = f"{row}: {types or 'all types off'}" if row else "removed"
        else:
            text = table.partition(".")[2]
        self._show(event.kind, text, event.created_at)

    def _show(self, kind: str, text: str, at: datetime | None = None) -> None:
        self.report(Line(kind, text, at or clock.now()))
