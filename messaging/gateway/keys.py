"""The relay-client keys of a party: an Ed25519 key for each lane, made once."""

from __future__ import annotations

from django.db import transaction

from common import entropy
from keychain import services as keychain
from messaging.models import Party, PartyClient
from walletconnect.crypto.signing import IdentityKey


def client_key(party: Party) -> IdentityKey:
    """The key of the party's first lane, by which other servers know it, too."""
    return client_keys(party)[0]


def client_keys(party: Party) -> dict[int, IdentityKey]:
    """The keys of all lanes that there are: at least one."""
    clients = PartyClient.objects.filter(party=party).order_by("lane")
    dids = {client.lane: client.did for client in clients}
    if not dids:
        return {0: add_client(party, 0)}
    return {
        lane: keychain.signing_key(keychain.Holder.RELAY, did)
        for lane, did in dids.items()
    }


def add_client(party: Party, lane: int) -> IdentityKey:
    """A key for a lane; if somebody else was quicker, that one's key."""
    key = IdentityKey.from_seed(entropy.key_bytes())
    with transaction.atomic():
        client, is_new = PartyClient.objects.get_or_create(
            party=party, lane=lane, defaults={"did": key.did}
        )
        if is_new:
            keychain.put_signing_key(keychain.Holder.RELAY, key)
            return key
    return keychain.signing_key(keychain.Holder.RELAY, client.did)


def remove_client(party: Party, lane: int) -> None:
    """Delete the client of a lane that is closed, and its key."""
    with transaction.atomic():
        client = PartyClient.objects.select_for_update().get(party=party, lane=lane)
        keychain.forget(keychain.Holder.RELAY, [client.did])
        client.delete()
