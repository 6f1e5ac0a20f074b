"""`wc_proposeSession` and `wc_approveSession`: one call that publishes and subscribes.

Sign clients from 2.21.8 on send a session proposal, or an approval with the settlement,
in one relay call instead of `irn_publish` and `irn_subscribe` (sign-client,
controllers/engine.ts: `sendProposeSession`, `sendApproveSession`). The sender never
subscribes to `subscribes_to` by itself while it stays connected.

`prompt`, `correlationId` and the analytics members (`approvedChains`, `txHashes`, ...) may
be there and are ignored.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from walletconnect.crypto.keys import Topic, parse_topic
from walletconnect.json_values import malformed
from walletconnect.relay.messages import Publication, require_ttl, take_message
from walletconnect.relay.methods import SessionTag

if TYPE_CHECKING:
    from walletconnect.json_values import JsonObject

# Clients in Swift and Kotlin leave the TTL to the relay; those in JavaScript send this one.
DEFAULT_TTL: Final = 300


class SessionMethod(StrEnum):
    PROPOSE = "wc_proposeSession"
    APPROVE = "wc_approveSession"


@dataclass(frozen=True, slots=True)
class ProposeSession:
    """A dapp's proposal, to the wallet that has the pairing's URI."""

    pairing_topic: Topic
    proposal: str = field(repr=False)
    ttl: int = DEFAULT_TTL

    @classmethod
    def from_params(cls, params: JsonObject) -> ProposeSession:
        return cls(
            pairing_topic=parse_topic(params.get("pairingTopic"), "pairingTopic"),
            proposal=_take_envelope(params, "sessionProposal"),
            ttl=_take_ttl(params),
        )

    @property
    def subscribes_to(self) -> Topic:
        return self.pairing_topic

    @property
    def publications(self) -> tuple[Publication, ...]:
        return (
            Publication(
                self.pairing_topic,
                self.proposal,
                SessionTag.PROPOSE,
                self.ttl,
                prompt=True,
            ),
        )


@dataclass(frozen=True, slots=True)
class ApproveSession:
    """A wallet's answer to a proposal, and the settlement on the new session's topic."""

    pairing_topic: Topic
    session_topic: Topic
    response: str = field(repr=False)
    settlement: str = field(repr=False)
    ttl: int = DEFAULT_TTL

    @classmethod
    def from_params(cls, params: JsonObject) -> ApproveSession:
        return cls(
            pairing_topic=parse_topic(params.get("pairingTopic"), "pairingTopic"),
            session_topic=parse_topic(params.get("sessionTopic"), "sessionTopic"),
            response=_take_envelope(params, "sessionProposalResponse"),
            settlement=_take_envelope(params, "sessionSettlementRequest"),
            ttl=_take_ttl(params),
        )

    @property
    def subscribes_to(self) -> Topic:
        return self.session_topic

    @property
    def publications(self) -> tuple[Publication, ...]:
        return (
            Publication(
                self.pairing_topic, self.response, SessionTag.PROPOSE_RESPONSE, self.ttl
            ),
            Publication(
                self.session_topic, self.settlement, SessionTag.SETTLE, self.ttl
            ),
        )


def _take_envelope(params: JsonObject, name: str) -> str:
    message = take_message(params, name)
    if not message:
        raise malformed(name)
    return message


def _take_ttl(params: JsonObject) -> int:
    ttl = params.get("ttl")
    return DEFAULT_TTL if ttl is None else require_ttl(ttl)
