"""The relay clients of a party: an Ed25519 key and a range of shards per lane.

Each function is called by the gateway that holds the lock of the lane.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.db import transaction
from django.db.models import Max

from common import entropy
from keychain import services as keychain
from messaging.models import Party, PartyClient
from messaging.shards import ALL_SHARDS, ShardRange
from walletconnect.crypto.signing import IdentityKey


@dataclass(frozen=True, slots=True)
class LaneIdentity:
    """Which client a lane is, and which shards it serves."""

    number: int
    key: IdentityKey
    shards: ShardRange


def client_key(party: Party) -> IdentityKey:
    """The key of lane 0, which also identifies the party at other servers."""
    with transaction.atomic():
        client = PartyClient.objects.filter(party=party, lane=0).first()
        if client is None:
            return _add_client(party, 0, ALL_SHARDS)
    return keychain.signing_key(keychain.Holder.RELAY, client.did)


def lane_identity(party: Party, number: int) -> LaneIdentity | None:
    """None if the lane was merged into another one meanwhile."""
    client = PartyClient.objects.filter(party=party, lane=number).first()
    if client is None:
        return None
    key = keychain.signing_key(keychain.Holder.RELAY, client.did)
    return LaneIdentity(number, key, client.shards)


def split_lane(party: Party, number: int) -> int:
    """Give the upper half of a lane's shards to a new lane; returns its number."""
    with transaction.atomic():
        # The row of lane 0 serializes the numbering of new lanes.
        PartyClient.objects.select_for_update().get(party=party, lane=0)
        clients = PartyClient.objects.filter(party=party)
        client = clients.get(lane=number)
        kept, given = client.shards.halves()
        client.last_shard = kept.last
        client.save(update_fields=["last_shard"])
        fresh = clients.aggregate(last=Max("lane"))["last"] + 1
        _add_client(party, fresh, given)
    return int(fresh)


def merge_lanes(party: Party, kept: int, removed: int) -> None:
    """Give the shards of a lane to the one just below or above it; delete the former."""
    with transaction.atomic():
        clients = PartyClient.objects.select_for_update().filter(party=party)
        both = {each.lane: each for each in clients.filter(lane__in=[kept, removed])}
        client, other = both[kept], both[removed]
        client.first_shard = min(client.first_shard, other.first_shard)
        client.last_shard = max(client.last_shard, other.last_shard)
        client.save(update_fields=["first_shard", "last_shard"])
        keychain.forget(keychain.Holder.RELAY, [other.did])
        other.delete()


def _add_client(party: Party, number: int, shards: ShardRange) -> IdentityKey:
    """Generate the key of a lane; returns the stored one if another process was first."""
    key = IdentityKey.from_seed(entropy.key_bytes())
    with transaction.atomic():
        client, is_new = PartyClient.objects.get_or_create(
            party=party,
            lane=number,
            defaults={
                "did": key.did,
                "first_shard": shards.first,
                "last_shard": shards.last,
            },
        )
        if is_new:
            keychain.put_signing_key(keychain.Holder.RELAY, key)
            return key
    return keychain.signing_key(keychain.Holder.RELAY, client.did)
