"""Linking a device with a one-time code, for wallets that sign differently each time.

Such a wallet's signature does not lead to the store that its other devices share. So the new
device shows a code, and a device that syncs already confirms it within two minutes. Both
belong to one user of this server, which holds the key of the store: no key travels, the
confirmation only lets the new device into the store.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.db import transaction

from accounts.models import Account
from accounts.services import EventDraft, EventKind, audit, record_events
from common import clock, entropy
from common.limits import consume
from keychain.services import DecryptionFailed, open_sealed, seal, token_digest
from syncstore.models import DeviceCursor, DeviceLink, Store
from syncstore.services.enable import NotYourAccount, SyncRefused, join

if TYPE_CHECKING:
    from accounts.models import Device

VALID_FOR: Final = timedelta(minutes=2)
# Used and expired rows stay a while, so that a late entry gets the true reason.
KEEP_FOR: Final = timedelta(hours=1)
# Without letters and digits that are easily mistaken for each other (0 O, 1 I L, U V).
CODE_LETTERS: Final = "23456789ABCDEFGHJKMNPQRSTWXYZ"
CODE_LENGTH: Final = 8


class LinkRefused(SyncRefused):
    """The code links nothing; ``kind`` is the reason, for pages and the audit log."""

    kind = "refused"
    text = ""

    def __init__(self, text: str = "") -> None:
        super().__init__(text or self.text)


class LinkUnknown(LinkRefused):
    """Never issued, mistyped, or of another user; not distinguished on purpose."""

    kind = "unknown"
    text = "no device of this user shows that code"


class LinkExpired(LinkRefused):
    kind = "expired"
    text = "the code is older than two minutes"


class LinkUsed(LinkRefused):
    kind = "used"
    text = "the code was used already"


class LinkOwnDevice(LinkRefused):
    kind = "own-device"
    text = "a device cannot confirm its own code"


class LinkNotSyncing(LinkRefused):
    kind = "not-syncing"
    text = "the confirming device does not sync that account"


class LinkTooMany(LinkRefused):
    kind = "too-many"
    text = "too many codes"

    def __init__(self, retry_after: float) -> None:
        super().__init__()
        self.retry_after = retry_after


class NothingToLink(LinkRefused):
    kind = "no-store"
    text = "Sync is not on for this account"


def format_code(code: str) -> str:
    """The code as people read it: ``ABCD-EFGH``."""
    return f"{code[:4]}-{code[4:]}"


def normalized(text: str) -> str:
    """A code as typed: any case, with blanks or hyphens."""
    return "".join(sign for sign in text.upper() if sign.isalnum())[: CODE_LENGTH + 1]


def require_may_begin(account: Account, device: Device) -> None:
    """Raises ``NotYourAccount``, or ``LinkTooMany`` above the user's rate."""
    if device.user_id != account.user_id or not device.is_active():
        raise NotYourAccount
    verdict = consume("device_link_begin", f"user:{account.user_id}")
    if not verdict.allowed:
        raise LinkTooMany(verdict.retry_after)


def begin_link(account: Account, device: Device) -> DeviceLink:
    """Issue a code for ``device``, which is to join the account's store.

    A device has one open code: an older one ends.
    """
    require_may_begin(account, device)
    now = clock.now()
    # 29**8 codes, of which a handful is valid at any moment.
    number = int.from_bytes(entropy.key_bytes(), "big")
    letters = []
    for _ in range(CODE_LENGTH):
        number, place = divmod(number, len(CODE_LETTERS))
        letters.append(CODE_LETTERS[place])
    code = "".join(letters)
    with transaction.atomic():
        Account.objects.locked().get(pk=account.pk)
        if not Store.objects.filter(account=account).exists():
            raise NothingToLink
        open_links = DeviceLink.objects.filter(
            device=device, purpose=DeviceLink.Purpose.CODE, used_at=None
        )
        open_links.filter(expires_at__gt=now).update(expires_at=now)
        DeviceLink.objects.filter(expires_at__lt=now - KEEP_FOR).delete()
        link = DeviceLink(
            account=account,
            device=device,
            code_digest=token_digest(f"device link {code}"),
            created_at=now,
            expires_at=now + VALID_FOR,
        )
        link.sealed_code = seal(link.context, code.encode())
        link.save()
    audit("sync.link-begun", device=device, account=account)
    return link


def newest_link(account: Account, device: Device) -> DeviceLink | None:
    """The newest link of this device for the account, open or not."""
    links = DeviceLink.objects.filter(
        account=account, device=device, purpose=DeviceLink.Purpose.CODE
    )
    return links.order_by("-created_at").first()


def code_of(link: DeviceLink) -> str:
    """The code to show on the new device; empty once it is of no use."""
    if not link.is_open(clock.now()):
        return ""
    try:
        return open_sealed(link.context, link.sealed_code).decode()
    except DecryptionFailed:
        return ""


def find_link(code: str, device: Device) -> DeviceLink:
    """The link that ``device`` may confirm by this code. Each call is one attempt."""
    try:
        return _find(code, device, lock=False)
    except LinkRefused as error:
        audit("sync.link-refused", device=device, detail=error.kind)
        raise


def confirm_link(code: str, device: Device) -> DeviceLink:
    """Let the device that shows ``code`` into the account's store.

    ``device`` confirms: another one of the same user, which syncs the account already.
    """
    try:
        with transaction.atomic():
            link = _find(code, device, lock=True)
            stores = list(Store.objects.filter(account=link.account).order_by("pk"))
            link.used_at = clock.now()
            link.confirmed_by = device
            link.sealed_code = b""
            link.save(update_fields=["used_at", "confirmed_by", "sealed_code"])
            join(stores)
            record_events(
                [
                    EventDraft(
                        link.account_id, EventKind.SYNC, f"syncstore.store:{store.pk}"
                    )
                    for store in stores
                ]
            )
    except LinkRefused as error:
        # Outside the transaction, so that raising does not undo it.
        audit("sync.link-refused", device=device, detail=error.kind)
        raise
    audit(
        "sync.linked",
        device=device,
        account=link.account,
        subject=f"accounts.device:{link.device_id}",
        detail=link.device.name,
    )
    return link


def _find(code: str, device: Device, *, lock: bool) -> DeviceLink:
    # Guessing is limited per user, on however many devices.
    verdict = consume("device_link_try", f"user:{device.user_id}")
    if not verdict.allowed:
        raise LinkTooMany(verdict.retry_after)
    links = DeviceLink.objects.select_related("account", "device")
    if lock:
        links = links.select_for_update(of=("self",))
    digest = token_digest(f"device link {normalized(code)}")
    link = links.filter(code_digest=digest).first()
    if (
        link is None
        or link.account.user_id != device.user_id
        or link.device.user_id != device.user_id
    ):
        raise LinkUnknown
    if link.used_at is not None:
        raise LinkUsed
    if not link.is_open(clock.now()) or not link.device.is_active():
        raise LinkExpired
    if link.device_id == device.pk:
        raise LinkOwnDevice
    syncs = DeviceCursor.objects.filter(device=device, store__account=link.account)
    if not device.is_active() or not syncs.exists():
        raise LinkNotSyncing
    return link
