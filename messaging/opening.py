"""Opens claimed rows: loads keys in bulk, decrypts, parses JSON-RPC.

Spec: WalletConnect clients/core/crypto/crypto-envelopes.md. What does not open is refused
without a reply and without a log line of its own: topics are not secret, so anyone may
publish anything on them.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from keychain import services as keychain
from messaging.dispatch import Inbound, Refused, route_of
from messaging.models import Party
from walletconnect.crypto.envelope import Envelope, EnvelopeType
from walletconnect.crypto.keys import KeyPair, SymKey, Topic
from walletconnect.errors import ProtocolError
from walletconnect.relay import rpc

if TYPE_CHECKING:
    from collections.abc import Sequence

    from messaging.inbox import Row

HOLDERS: Final = {
    Party.WALLET: keychain.Holder.WALLET,
    Party.CAST: keychain.Holder.CAST,
}

NO_HANDLER: Final = "no handler for this tag"
EMPTY: Final = "empty message"
NO_ENVELOPE: Final = "not an envelope"
NO_KEY: Final = "no key for this topic"
CLOSED: Final = "the envelope does not open"
NO_RPC: Final = "not a JSON-RPC message"


class Keys:
    """The keys of a batch, loaded with one query per party and kind."""

    def __init__(self, closed: Sequence[tuple[Row, Envelope]]) -> None:
        wanted: dict[tuple[Party, EnvelopeType], set[str]] = defaultdict(set)
        for row, envelope in closed:
            wanted[row.party, envelope.type].add(row.topic)
        self._sym_keys: dict[Party, dict[Topic, SymKey]] = {}
        self._key_pairs: dict[Party, dict[Topic, KeyPair]] = {}
        for (party, kind), topics in wanted.items():
            holder = HOLDERS[party]
            if kind is EnvelopeType.SHARED_KEY:
                self._sym_keys[party] = keychain.sym_keys(holder, topics)
            else:
                self._key_pairs[party] = keychain.key_pairs(holder, topics)

    def opening(self, row: Row, envelope: Envelope) -> SymKey:
        """The key that should open ``envelope``, or ``Refused``."""
        topic = Topic(row.topic)
        if envelope.type is EnvelopeType.SHARED_KEY:
            sym_key = self._sym_keys[row.party].get(topic)
            if sym_key is None or sym_key.topic != topic:
                raise Refused(NO_KEY)
            return sym_key
        key_pair = self._key_pairs[row.party].get(topic)
        if key_pair is None or key_pair.topic != topic:
            raise Refused(NO_KEY)
        try:
            return envelope.derive_sym_key(key_pair)
        except ProtocolError:
            raise Refused(CLOSED) from None


def open_all(rows: Sequence[Row]) -> tuple[list[Inbound], dict[int, Refused]]:
    """Opened messages in the order of ``rows``, and the refusals of the others by key."""
    closed: list[tuple[Row, Envelope]] = []
    refused: dict[int, Refused] = {}
    for row in rows:
        try:
            closed.append((row, _decode(row)))
        except Refused as refusal:
            refused[row.pk] = refusal
    keys = Keys(closed)
    opened = []
    for row, envelope in closed:
        try:
            opened.append(_open(row, envelope, keys))
        except Refused as refusal:
            refused[row.pk] = refusal
    return opened, refused


def _decode(row: Row) -> Envelope:
    if route_of(row.party, row.tag) is None:
        raise Refused(NO_HANDLER)
    if not row.message:
        # The keep-alive of old Notify servers (tag 4050) is an empty message.
        raise Refused(EMPTY)
    try:
        return Envelope.decode(row.message)
    except ProtocolError:
        raise Refused(NO_ENVELOPE) from None


def _open(row: Row, envelope: Envelope, keys: Keys) -> Inbound:
    sym_key = keys.opening(row, envelope)
    try:
        plaintext = envelope.open(sym_key)
    except ProtocolError:
        raise Refused(CLOSED) from None
    try:
        payload = rpc.parse(plaintext)
    except ProtocolError:
        raise Refused(NO_RPC) from None
    return Inbound(
        pk=row.pk,
        party=row.party,
        topic=Topic(row.topic),
        tag=row.tag,
        message_id=row.message_id,
        published_at=row.published_at,
        received_at=row.received_at,
        envelope_type=int(envelope.type),
        sym_key=sym_key,
        sender_public_key=envelope.sender_public_key,
        payload=payload,
    )
