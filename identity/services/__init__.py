"""Sign-in, signing keys, resolving keys to accounts, and the Keys Server."""

from __future__ import annotations

from identity.services.contract_wallets import check_contracts, endpoint_fault
from identity.services.device_keys import (
    SigningIdentity,
    is_contract_wallet,
    retire_keys_of_account,
    retire_keys_of_devices,
    retire_spare_keys_of_devices,
    signing_identities,
    signing_identity,
    watching_identities,
)
from identity.services.errors import (
    ChainUnavailable,
    ForeignOrigin,
    KeysServerRefusal,
    KeysServerUnavailable,
    MalformedSignature,
    NoChainEndpoint,
    NoIdentityKey,
    OtherBrowser,
    RequestExpired,
    RequestUnknown,
    RequestUsed,
    SignatureRefused,
    SignInError,
    TextDiffers,
    UnsupportedAccount,
    WrongSigner,
)
from identity.services.resolving import (
    known_identities,
    known_identity,
    look_up_identities,
    own_keys_servers,
    resolve_identity,
)
from identity.services.sign_in import (
    begin_sign_in,
    complete_sign_in,
)
from identity.services.signatures import added_white_space, canonical_signature
from identity.services.upkeep import (
    prune,
    register_due_keys,
    unregister_due_keys,
)

__all__ = [
    "ChainUnavailable",
    "ForeignOrigin",
    "KeysServerRefusal",
    "KeysServerUnavailable",
    "MalformedSignature",
    "NoChainEndpoint",
    "NoIdentityKey",
    "OtherBrowser",
    "RequestExpired",
    "RequestUnknown",
    "RequestUsed",
    "SignInError",
    "SignatureRefused",
    "SigningIdentity",
    "TextDiffers",
    "UnsupportedAccount",
    "WrongSigner",
    "added_white_space",
    "begin_sign_in",
    "canonical_signature",
    "check_contracts",
    "complete_sign_in",
    "endpoint_fault",
    "is_contract_wallet",
    "known_identities",
    "known_identity",
    "look_up_identities",
    "own_keys_servers",
    "prune",
    "register_due_keys",
    "resolve_identity",
    "retire_keys_of_account",
    "retire_keys_of_devices",
    "retire_spare_keys_of_devices",
    "signing_identities",
    "signing_identity",
    "unregister_due_keys",
    "watching_identities",
]
