from __future__ import annotations

from common import entropy
from messaging import outbox
from messaging.dispatch import Inbound, handles
from messaging.models import Party
from walletconnect.crypto.envelope import seal
from walletconnect.relay.messages import Publication
from walletconnect.relay.rpc import JsonRpcResult

ECHO_TAG = 5910
ANSWER_TAG = 5911


@handles(Party.WALLET, ECHO_TAG)
def on_echo(messages: list[Inbound]) -> None:
    outbox.publish_all(Party.WALLET, [_answer(message) for message in messages])


def _answer(message: Inbound) -> Publication:
    text = JsonRpcResult(message.payload.id, result=True).to_json()
    sealed = seal(text, message.sym_key, iv=entropy.iv())
    return Publication(message.topic, sealed, ANSWER_TAG, 300)
