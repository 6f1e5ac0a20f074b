"""The relay-client key of a party: an Ed25519 key of its own, made once."""

from __future__ import annotations

from django.db import transaction

from groundwork import entropy
from keychain import services as keychain
from relay.models import Party, PartyClient
from walletconnect.crypto.signing import IdentityKey


def client_key(party: Party) -> IdentityKey:
    """The party's key; made at the first call, which holds the party's lock."""
    known = PartyClient.objects.filter(party=party).first()
    if known is not None:
        return keychain.signing_key(keychain.Holder.RELAY, known.did)
    key = IdentityKey.from_seed(entropy.key_bytes())
    with transaction.atomic():
        keychain.put_signing_key(keychain.Holder.RELAY, key)
        PartyClient.objects.create(party=party, did=key.did)
    return key
