"""Our Keys Server: which account registered which identity key.

Spec: WalletConnect specs, servers/keys/keys-server-api.md. A registration is proven by its
CACAO, an unregistration by a token of the key itself. The server only stores: its clients
verify the CACAOs again. The contract of a smart-contract wallet is asked on registration.

Departures, all stricter: an unregistered key cannot be registered again; an invite key is
accepted only from a registered identity key of the account; and tokens are checked in full
(times, audience, account), where the published server checks the signature alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import transaction

from accounts.services import audit
from common import clock
from identity.models import IdentityRegistration, InviteRegistration
from identity.services.contract_wallets import prove
from identity.services.errors import (
    ChainUnavailable,
    ContractError,
    KeysServerRefusal,
    not_found,
)
from walletconnect.crypto.multikey import X25519
from walletconnect.errors import RemoteProtocolError
from walletconnect.identity.cacao import Cacao
from walletconnect.identity.contract_wallet import ContractCheckNeeded
from walletconnect.identity.did import DID_KEY, AccountId, public_key_of
from walletconnect.identity.registration import (
    KeysServerAct,
    names_server,
    read_keys_server_auth,
)

if TYPE_CHECKING:
    from collections.abc import Collection

    from walletconnect.identity.registration import KeysServerAuth
    from walletconnect.json_values import JsonValue


# --- identity keys --------------------------------------------------------------------


def register(value: JsonValue, *, audiences: Collection[str] | None = None) -> None:
    """``POST /identity``: store the CACAO of a key. Repeating it changes nothing.

    ``audiences`` are the URLs of this server. A CACAO that an account signed for another
    server registers nothing here.
    """
    try:
        cacao = Cacao.from_value(value)
    except RemoteProtocolError as error:
        raise KeysServerRefusal(400, "cacao", error.message) from None
    try:
        _ = cacao.account
        public_key_of(cacao.identity_key)
    except RemoteProtocolError as error:
        raise KeysServerRefusal(400, "did", error.message) from None
    try:
        cacao.verify(now=clock.now_s())
    except ContractCheckNeeded as needed:
        _prove(needed)
    except RemoteProtocolError as error:
        raise KeysServerRefusal(400, "cacao", error.message) from None
    server = cacao.payload.keys_server
    if audiences is not None and server and not names_server(server, audiences):
        raise KeysServerRefusal(400, "cacao", "aud names another Keys Server")
    keep(cacao)


def _prove(needed: ContractCheckNeeded) -> None:
    try:
        prove(needed.check)
    except ChainUnavailable as error:
        raise KeysServerRefusal(503, "cacao", str(error)) from None
    except ContractError as error:
        raise KeysServerRefusal(400, "cacao", str(error)) from None


@transaction.atomic
def keep(cacao: Cacao) -> None:
    """Store a CACAO that the caller has just verified."""
    row = IdentityRegistration(
        public_key=_bare(cacao.identity_key),
        account=str(cacao.account),
        cacao=cacao.text,
        registered_at=clock.now(),
    )
    IdentityRegistration.objects.bulk_create([row], ignore_conflicts=True)
    kept = IdentityRegistration.objects.select_for_update().get(
        public_key=row.public_key
    )
    if kept.unregistered_at is not None:
        raise KeysServerRefusal(400, "cacao", "this identity key was unregistered")
    if not AccountId.parse(kept.account).same_as(cacao.account):
        raise KeysServerRefusal(
            400, "cacao", "this identity key belongs to another account"
        )
    if kept.cacao == cacao.text:
        return
    try:
        Cacao.from_json(kept.cacao).verify(now=clock.now_s())
    except ContractCheckNeeded:
        # Neither expired nor malformed, and its contract accepted it when it was stored.
        return
    except RemoteProtocolError:
        # The account renewed its CACAO after the first one expired.
        kept.cacao = cacao.text
        kept.save(update_fields=["cacao"])


def resolve(public_key: str) -> str:
    """``GET /identity``: the CACAO of a key, as the JSON text that was registered."""
    try:
        public_key_of(DID_KEY + public_key)
    except RemoteProtocolError:
        raise KeysServerRefusal(
            400, "validation", "publicKey is not an Ed25519 key in the form z6Mk…"
        ) from None
    row = IdentityRegistration.objects.filter(
        public_key=public_key, unregistered_at=None
    ).first()
    if row is None:
        raise not_found("Identity key", public_key)
    return row.cacao


def unregister(id_auth: JsonValue, *, audiences: Collection[str]) -> None:
    """``DELETE /identity``: a key withdraws its own registration."""
    auth, account = _verified(
        id_auth, KeysServerAct.UNREGISTER_IDENTITY, audiences=audiences
    )
    withdraw(auth.did, account)


@transaction.atomic
def withdraw(did: str, account: AccountId) -> None:
    """Unregister a key that proved itself; repeating it changes nothing.

    A key of another account is answered like an unknown one.
    """
    row = (
        IdentityRegistration.objects.select_for_update()
        .filter(public_key=_bare(did))
        .first()
    )
    if row is None or not _is_of(row, account):
        raise not_found("Account", str(account))
    if row.unregistered_at is None:
        row.unregistered_at = clock.now()
        row.cacao = ""
        row.save(update_fields=["unregistered_at", "cacao"])
        audit("identity-key.unregistered", subject=did)


def _is_of(row: IdentityRegistration, account: AccountId) -> bool:
    return bool(row.account) and AccountId.parse(row.account).same_as(account)


# --- invite keys ----------------------------------------------------------------------


def register_invite(id_auth: JsonValue, *, audiences: Collection[str]) -> None:
    """``POST /invite``: the key under which an account receives chat invites."""
    auth, account = _verified(
        id_auth, KeysServerAct.REGISTER_INVITE, audiences=audiences
    )
    invite_key = auth.sub
    refusal = KeysServerRefusal(400, "jwt_verification", "sub is not an X25519 did:key")
    if not isinstance(invite_key, str):
        raise refusal
    try:
        public_key_of(invite_key, X25519)
    except RemoteProtocolError:
        raise refusal from None
    _require_registered(auth.did, account)
    _set_invite(account, auth.issued_at, invite_key)


def unregister_invite(id_auth: JsonValue, *, audiences: Collection[str]) -> None:
    """``DELETE /invite``: the account receives no more chat invites."""
    auth, account = _verified(
        id_auth, KeysServerAct.UNREGISTER_INVITE, audiences=audiences
    )
    _require_registered(auth.did, account)
    _set_invite(account, auth.issued_at, "")


def resolve_invite(account_text: str) -> str:
    """``GET /invite``: the invite key of an account, a did:key."""
    try:
        account = AccountId.parse(account_text)
    except RemoteProtocolError:
        raise KeysServerRefusal(
            400, "validation", "account is not a CAIP-10 account"
        ) from None
    row = InviteRegistration.objects.filter(account=account.key).first()
    if row is None or not row.invite_key:
        raise not_found("Invite key", account_text)
    return row.invite_key


@transaction.atomic
def _set_invite(account: AccountId, issued_at: int, invite_key: str) -> None:
    row = InviteRegistration(account=account.key, invite_key="", issued_at=0)
    InviteRegistration.objects.bulk_create([row], ignore_conflicts=True)
    newer = InviteRegistration.objects.filter(
        account=account.key, issued_at__lte=issued_at
    )
    # A token older than the stored one is answered like a repeat.
    newer.update(invite_key=invite_key, issued_at=issued_at)


def _require_registered(did: str, account: AccountId) -> None:
    row = IdentityRegistration.objects.filter(
        public_key=_bare(did), unregistered_at=None
    ).first()
    if row is None or not _is_of(row, account):
        raise not_found("Account", str(account))


# --- tokens ---------------------------------------------------------------------------


def _verified(
    id_auth: JsonValue, act: KeysServerAct, *, audiences: Collection[str]
) -> tuple[KeysServerAuth, AccountId]:
    try:
        auth = read_keys_server_auth(
            id_auth, act, now=clock.now_s(), audiences=audiences
        )
    except RemoteProtocolError as error:
        raise KeysServerRefusal(400, "jwt_verification", error.message) from None
    try:
        return auth, auth.account
    except RemoteProtocolError as error:
        raise KeysServerRefusal(400, "did", error.message) from None


def _bare(did: str) -> str:
    return did.removeprefix(DID_KEY)
