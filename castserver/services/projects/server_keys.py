"""The Cast Server's own keys, for ``wc_notifyWatchSubscriptions`` and its answers.

Created by the first caller and never changed: clients keep the topics they derived from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import transaction

from castserver.models import ServerKeys
from common import clock, entropy
from keychain.services import (
    Holder,
    put_key_pair,
    put_signing_key,
    signing_key,
)
from messaging import outbox
from messaging.models import Party
from walletconnect.crypto.keys import KeyPair
from walletconnect.crypto.signing import IdentityKey

if TYPE_CHECKING:
    from walletconnect.crypto.keys import Topic

THE_ROW = 1


@dataclass(frozen=True, slots=True)
class PublicKeys:
    """The public keys in the server's did.json."""

    key_agreement: bytes
    authentication_did: str
    watch_topic: Topic | str


def public_keys() -> PublicKeys:
    """The server's public keys; the first call creates them."""
    row = ServerKeys.objects.filter(pk=THE_ROW).first() or _make_keys()
    return PublicKeys(
        key_agreement=bytes.fromhex(row.public_key),
        authentication_did=row.authentication_did,
        watch_topic=row.watch_topic,
    )


def authentication_key() -> IdentityKey:
    return signing_key(Holder.CAST, public_keys().authentication_did)


def _make_keys() -> ServerKeys:
    pair = KeyPair.from_private(entropy.key_bytes())
    key = IdentityKey.from_seed(entropy.key_bytes())
    row = ServerKeys(
        id=THE_ROW,
        watch_topic=pair.topic,
        public_key=pair.public_key.hex(),
        authentication_did=key.did,
        created_at=clock.now(),
    )
    with transaction.atomic():
        # Of two first callers one inserts the row; the keys of the other are discarded.
        ServerKeys.objects.bulk_create([row], ignore_conflicts=True)
        kept = ServerKeys.objects.get(pk=THE_ROW)
        if kept.watch_topic == row.watch_topic:
            put_key_pair(Holder.CAST, pair)
            put_signing_key(Holder.CAST, key)
            outbox.subscribe(Party.CAST, [pair.topic])
    return kept
