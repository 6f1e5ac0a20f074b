"""The relay-client keys of a party: an Ed25519 key per lane, generated once."""

from __future__ import annotations

from django.db import transaction

from common import entropy
from keychain import services as keychain
from messaging.models import Party, PartyClient
from walletconnect.crypto.signing import IdentityKey


def client_key(party: Party) -> IdentityKey:
    """The key of lane 0, which also identifies the party at other servers."""
    return client_keys(party)[0]


def client_keys(party: Party) -> dict[int, IdentityKey]:
    """The keys of all lanes, generating that of lane 0 if there is none."""
    clients = PartyClient.objects.filter(party=party).order_by("lane")
    dids = {client.lane: client.did for client in clients}
    if not dids:
        return {0: add_client(party, 0)}
    return {
        lane: keychain.signing_key(keychain.Holder.RELAY, did)
        for lane, did in dids.items()
    }


def add_client(party: Party, lane: int) -> IdentityKey:
    """Generate the key of a lane; returns the stored one if another process was first."""
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
    """Delete the client and the key of a closed lane."""
    with transaction.atomic():
        client = PartyClient.objects.select_for_update().get(party=party, lane=lane)
        keychain.forget(keychain.Holder.RELAY, [client.did])
        client.delete()
