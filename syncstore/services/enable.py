"""Enables Sync for an account: derives its stores from one signature.

Spec: WalletConnect specs, clients/core/sync/sync-protocol.md. The store keys derive from the
signature alone, identically on every device. They can never be changed, so the signature and
the seed are not stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.db import transaction

from accounts.models import Account
from accounts.services import EventDraft, EventKind, audit, record_events
from common import clock
from common.wake import enqueue_on_commit
from keychain.services import Holder, forget, put_sym_keys, token_digest
from messaging import outbox
from messaging.models import Party
from syncstore.models import ColdStart, Store, StoreUpdate
from syncstore.names import MAX_EPOCH, STORE_NAMES, derivation_name, name_and_epoch
from syncstore.services import statements
from walletconnect.identity.did import AccountId
from walletconnect.sync.derivation import (
    check_sync_signature,
    derive_store_keys,
    sync_message,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from accounts.models import Device
    from walletconnect.crypto.keys import SymKey

COLD_START_TASK: Final = "syncstore.cold_start"


class SyncRefused(Exception):
    """Sync was not enabled. ``str`` is a sentence for the user."""


class NotYourAccount(SyncRefused):
    """The device belongs to another user, or was signed out."""

    def __init__(self) -> None:
        super().__init__("This browser is not signed in with that account.")


class SignatureDiffers(SyncRefused):
    """The wallet's signatures are not deterministic, so this one leads to other stores.

    The stores that the account's devices share already stay as they are.
    """

    def __init__(self) -> None:
        super().__init__(
            "This wallet signed the same text differently before. Its signatures are "
            "not deterministic, so they do not lead to the same shared store. Nothing "
            "was changed."
        )


class TooManyEpochs(SyncRefused):
    def __init__(self) -> None:
        super().__init__(f"An account has at most {MAX_EPOCH} epochs.")


def message_to_sign(account: Account) -> str:
    """The exact text that the wallet has to sign."""
    return sync_message(AccountId.parse(account.address))


def is_enabled(account: Account) -> bool:
    return Store.objects.filter(account=account).exists()


def enable_sync(account: Account, signature: str, device: Device) -> list[Store]:
    """Check the signature, derive the stores' keys, subscribe, and start the replay.

    Repeating it with the same signature changes nothing, except that it creates stores that
    the account does not have yet. A signature in another form
    or of another account raises ``RemoteProtocolError``; one that leads to other stores
    than the account already has raises ``SignatureDiffers``.
    """
    if device.user_id != account.user_id or not device.is_active():
        raise NotYourAccount
    fingerprint = fingerprint_of(account, signature)
    with transaction.atomic():
        # Two devices that enable Sync at the same moment must get the same stores.
        Account.objects.locked().get(pk=account.pk)
        stores = list(Store.objects.filter(account=account).order_by("pk"))
        if not stores:
            keys = derive_store_keys(signature, STORE_NAMES)
            return _create(account, keys, fingerprint=fingerprint, device=device)
        is_same = all(each.signature_fingerprint == fingerprint for each in stores)
        if not is_same:
            # The key of the fingerprints may have been lost; the topics decide.
            is_same = _leads_to(signature, stores)
        if is_same:
            join(stores)
            present = {store.name for store in stores}
            missing = [name for name in STORE_NAMES if name not in present]
            if missing:
                epoch = stores[0].epoch
                stores += _create(
                    account,
                    _keys_of_epoch(signature, epoch, missing),
                    fingerprint=fingerprint,
                    device=device,
                    epoch=epoch,
                )
    if not is_same:
        # Outside the transaction, so that raising does not undo it.
        audit("sync.signature-differs", device=device, account=account)
        raise SignatureDiffers
    return stores


def fingerprint_of(account: Account, signature: str) -> str:
    """A keyed digest of the account's Sync signature, to compare two signatures by.

    A signature in another form or of another account raises ``RemoteProtocolError``.
    """
    check_sync_signature(AccountId.parse(account.address), signature)
    return token_digest(f"sync signature {signature}")


def start_new_group(account: Account, signature: str, device: Device) -> list[Store]:
    """Replace the account's stores by those that this signature leads to.

    For a wallet whose signature does not lead to the stores of before. All devices on this
    server move along, and the subscriptions are written into the new store after the replay.
    Wallets elsewhere stay with the old store, which is not read here any more.
    """
    if device.user_id != account.user_id or not device.is_active():
        raise NotYourAccount
    fingerprint = fingerprint_of(account, signature)
    keys = derive_store_keys(signature, STORE_NAMES)
    with transaction.atomic():
        Account.objects.locked().get(pk=account.pk)
        # In the order of all writers: the rows of the stores, then what refers to them.
        stores = list(
            Store.objects.select_for_update().filter(account=account).order_by("pk")
        )
        if _leads_to(signature, stores):
            join(stores)
            return stores
        _leave(stores)
        made = _create(account, keys, fingerprint=fingerprint, device=device)
    audit("sync.new-group", device=device, account=account)
    return made


@transaction.atomic
def start_epoch(account: Account, signature: str, device: Device) -> list[Store]:
    """Replace the account's stores by those of the next epoch, with other keys.

    The signature is the one of before, along another name: a store key of the former
    epoch does not lead to this one. Raises ``SignatureDiffers`` for another one.
    """
    if device.user_id != account.user_id or not device.is_active():
        raise NotYourAccount
    fingerprint = fingerprint_of(account, signature)
    Account.objects.locked().get(pk=account.pk)
    stores = list(
        Store.objects.select_for_update().filter(account=account).order_by("pk")
    )
    if not stores or not _leads_to(signature, stores):
        raise SignatureDiffers
    epoch = stores[0].epoch + 1
    if epoch > MAX_EPOCH:
        raise TooManyEpochs
    _leave(stores)
    keys = _keys_of_epoch(signature, epoch, STORE_NAMES)
    made = _create(account, keys, fingerprint=fingerprint, device=device, epoch=epoch)
    audit("sync.new-epoch", device=device, account=account, detail=str(epoch))
    return made


def _leads_to(signature: str, stores: list[Store]) -> bool:
    keys = derive_store_keys(signature, [store.derivation_name for store in stores])
    return bool(stores) and all(
        keys[store.derivation_name].topic == store.topic for store in stores
    )


def _keys_of_epoch(
    signature: str, epoch: int, names: Sequence[str]
) -> dict[str, SymKey]:
    keys = derive_store_keys(
        signature, [derivation_name(name, epoch) for name in names]
    )
    return {name: keys[derivation_name(name, epoch)] for name in names}


def _leave(stores: list[Store]) -> None:
    former = [store.topic for store in stores]
    outbox.unsubscribe(Party.WALLET, former)
    forget(Holder.WALLET, former)
    Store.objects.filter(pk__in=[store.pk for store in stores]).delete()


def restore_stores(
    account: Account, keys: Mapping[str, SymKey], *, device: Device | None
) -> bool:
    """Join the stores that ``keys`` belong to, by name; whether any is new here.

    Without a signature: for keys of the account's own export, by derivation name. Unknown
    names are left out.
    Raises ``SignatureDiffers`` if the account has other stores here; nothing is changed
    then. In the caller's transaction.
    """
    Account.objects.locked().get(pk=account.pk)
    present = dict(Store.objects.filter(account=account).values_list("name", "topic"))
    given = {name_and_epoch(text): key for text, key in keys.items()}
    epoch = max((epoch for name, epoch in given if name in STORE_NAMES), default=1)
    known = {name: given[name, epoch] for name in STORE_NAMES if (name, epoch) in given}
    missing = {name: key for name, key in known.items() if name not in present}
    differs = any(
        present[name] != key.topic for name, key in known.items() if name in present
    )
    topics = [key.topic for key in missing.values()]
    if differs or Store.objects.filter(topic__in=topics).exists():
        raise SignatureDiffers
    if missing:
        # Without a fingerprint the topics decide whether a later signature is the same.
        _create(account, missing, fingerprint="", device=device, epoch=epoch)
    return bool(missing)


def _create(
    account: Account,
    keys: Mapping[str, SymKey],
    *,
    fingerprint: str,
    device: Device | None,
    epoch: int = 1,
) -> list[Store]:
    now = clock.now()
    stores = Store.objects.bulk_create(
        Store(
            account=account,
            name=name,
            topic=key.topic,
            signature_fingerprint=fingerprint,
            epoch=epoch,
            created_at=now,
        )
        for name, key in keys.items()
    )
    put_sym_keys(Holder.WALLET, keys.values(), account_id=account.pk)
    outbox.subscribe(Party.WALLET, [store.topic for store in stores])
    ColdStart.objects.update_or_create(
        account=account,
        defaults={
            "state": ColdStart.State.RUNNING,
            "next_attempt_at": now,
            "attempts": 0,
            "found": 0,
            "replayed": 0,
            "reason": "",
            "started_at": now,
            "finished_at": None,
            # A new group replays anew, also while the replay of the former store runs.
            "leased_until": None,
            "leased_by": None,
        },
    )
    enqueue_on_commit(COLD_START_TASK)
    join(stores)
    audit("sync.enabled", device=device, account=account)
    record_events(
        [
            EventDraft(account.pk, EventKind.SYNC, f"syncstore.store:{store.pk}")
            for store in stores
        ]
    )
    return stores


def join(stores: list[Store]) -> None:
    """Give every active device of the account a cursor at the head of the log."""
    heads = dict.fromkeys((store.pk for store in stores), 0)
    rows = (
        StoreUpdate.objects.filter(store__in=stores)
        .order_by("store_id", "-pk")
        .distinct("store_id")
        .values_list("store_id", "pk")
    )
    heads.update(rows)
    statements.move_cursors(heads, now=clock.now())
