"""The parameters of `wc_proposeSession` and `wc_approveSession`."""

from __future__ import annotations

import pytest

from walletconnect.errors import ErrorCode, RemoteProtocolError
from walletconnect.relay.messages import MAX_MESSAGE_LENGTH, Publication
from walletconnect.relay.session_calls import ApproveSession, ProposeSession

PAIRING = "ab" * 32
SESSION = "cd" * 32

# As sign-client 2.25.0 sends them, with all its analytics members.
PROPOSE = {
    "pairingTopic": PAIRING,
    "sessionProposal": "AAAA",
    "ttl": 300,
    "attestation": "header.payload.signature",
    "correlationId": 1764385200000123,
}
APPROVE = {
    "pairingTopic": PAIRING,
    "sessionTopic": SESSION,
    "sessionProposalResponse": "BBBB",
    "sessionSettlementRequest": "CCCC",
    "ttl": 300,
    "correlationId": 1764385200000123,
    "approvedChains": ["eip155:1"],
    "approvedMethods": ["personal_sign"],
    "approvedEvents": ["accountsChanged"],
    "sessionProperties": {"expiry": "2026-01-01T00:00:00Z"},
    "scopedProperties": {"eip155": {"walletService": []}},
}


def test_a_proposal_is_one_message_for_the_pairing():
    call = ProposeSession.from_params(PROPOSE)

    assert call.subscribes_to == PAIRING
    assert call.publications == (Publication(PAIRING, "AAAA", 1100, 300, prompt=True),)


def test_an_approval_is_an_answer_for_the_pairing_and_a_settlement_for_the_session():
    call = ApproveSession.from_params(APPROVE)

    assert call.subscribes_to == SESSION
    assert call.publications == (
        Publication(PAIRING, "BBBB", 1101, 300),
        Publication(SESSION, "CCCC", 1102, 300),
    )


@pytest.mark.parametrize(
    ("read", "params"),
    [(ProposeSession.from_params, PROPOSE), (ApproveSession.from_params, APPROVE)],
)
def test_the_ttl_may_be_left_to_the_relay(read, params):
    without = {name: value for name, value in params.items() if name != "ttl"}

    assert {each.ttl for each in read(without).publications} == {300}
    assert {each.ttl for each in read({**params, "ttl": 60}).publications} == {60}


def refusals():
    for name in ("pairingTopic", "sessionProposal"):
        for value in (None, "", 1, "x" * 63, "\0", ["AAAA"]):
            if name == "pairingTopic" or not (value and str(value).startswith("x")):
                yield ProposeSession.from_params, PROPOSE, name, value
    for name in (
        "pairingTopic",
        "sessionTopic",
        "sessionProposalResponse",
        "sessionSettlementRequest",
    ):
        for value in (None, "", 1, "\0", {}):
            yield ApproveSession.from_params, APPROVE, name, value
    for value in ("300", 1.5, True):
        yield ProposeSession.from_params, PROPOSE, "ttl", value
        yield ApproveSession.from_params, APPROVE, "ttl", value


@pytest.mark.parametrize(("read", "params", "name", "value"), list(refusals()))
def test_a_malformed_member_is_named(read, params, name, value):
    with pytest.raises(RemoteProtocolError) as caught:
        read({**params, name: value})

    assert caught.value.code == ErrorCode.MALFORMED
    assert caught.value.message == f"malformed {name}"


@pytest.mark.parametrize("ttl", [0, -1, 2_592_001])
def test_a_ttl_out_of_range_is_refused_with_the_bound(ttl):
    with pytest.raises(RemoteProtocolError, match="requested ttl is") as caught:
        ProposeSession.from_params({**PROPOSE, "ttl": ttl})

    assert caught.value.code == ErrorCode.REFUSED


def test_a_message_that_is_too_long_is_named():
    too_long = "A" * (MAX_MESSAGE_LENGTH + 1)

    with pytest.raises(RemoteProtocolError) as caught:
        ApproveSession.from_params({**APPROVE, "sessionSettlementRequest": too_long})

    assert caught.value.code == ErrorCode.TOO_LARGE
    assert caught.value.message == "sessionSettlementRequest is too long"
