"""The twenty steps between Alice's W1, the dapp's Cast Server and Alice's Wx, at NOW."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.walletconnect.people import (
    DAPP,
    KEY_PAIR_Y,
    KEY_PAIR_Z,
    NOW,
    W1,
    iv,
)
from walletconnect.crypto.envelope import Envelope
from walletconnect.notify.subscribe import (
    answer_subscription,
    request_subscription,
    settle_subscription,
)
from walletconnect.relay.rpc import JsonRpcPayload, parse

if TYPE_CHECKING:
    from walletconnect.crypto.keys import SymKey
    from walletconnect.relay.messages import Publication

REQUEST_ID = NOW * 1_000_000 + 7


def ask(wallet=W1, dapp=DAPP, **changes):
    asked = {
        "key_pair_y": KEY_PAIR_Y,
        "metadata": dapp.metadata,
        "scope": dapp.scope,
        "request_id": REQUEST_ID,
        "iv": iv("request"),
        "now": NOW,
        **changes,
    }
    return request_subscription(dapp.document, wallet.identity, **asked)


def arrived(publish: Publication, key: SymKey) -> JsonRpcPayload:
    """The payload of a published message, opened with `key`."""
    return parse(Envelope.decode(publish.message).open(key))


def answer(asked=None, wallet=W1, dapp=DAPP, **changes):
    asked = asked or ask(wallet, dapp)
    given = {
        "topic": asked.publish.topic,
        "public_key_y": Envelope.decode(asked.publish.message).sender_public_key,
        "identity": wallet.cacao,
        "key_pair_z": KEY_PAIR_Z,
        "iv": iv("answer"),
        "now": NOW + 1,
        **changes,
    }
    request = changes.pop("request", None) or arrived(asked.publish, asked.sym_key_s)
    given.pop("request", None)
    return answer_subscription(request, dapp.identity, **given)


def settle(asked=None, answered=None, **changes):
    asked = asked or ask()
    answered = answered or answer(asked)
    given = {"key_pair_y": KEY_PAIR_Y, "now": NOW + 2, **changes}
    response = given.pop("response", None) or arrived(answered.publish, asked.sym_key_s)
    return settle_subscription(asked.pending, response, **given)


SUBSCRIPTION = settle().subscription
ANSWER = answer()
