"""The relay's parameters: read as written, refused when they break a rule."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.walletconnect.people import NOW, secret
from tests.walletconnect.vectors import load
from walletconnect.crypto.signing import IdentityKey
from walletconnect.errors import ErrorCode, RemoteProtocolError
from walletconnect.identity.jwt import sign_did_jwt
from walletconnect.relay.auth import make_client_auth, verify_client_auth
from walletconnect.relay.frames import (
    MAX_BATCH,
    BatchFetch,
    BatchPublish,
    BatchReceive,
    BatchSubscribe,
    BatchUnsubscribe,
    Delivery,
    Fetch,
    Receipt,
    RelayErrorCode,
    RelayMethod,
    Subscribe,
    Unsubscribe,
    relay_error_code,
    split_method,
    subscription_id,
)
from walletconnect.relay.messages import Publication, PublishedMessage, message_id

TOPIC = "ab" * 32
OTHER = "cd" * 32
PUBLICATION = Publication(TOPIC, "AAAA", 4000, 30, prompt=True)

CALLS = [
    PUBLICATION,
    BatchPublish((PUBLICATION,)),
    Subscribe(TOPIC),
    BatchSubscribe((TOPIC, OTHER)),
    Unsubscribe(TOPIC, "id"),
    BatchUnsubscribe((Unsubscribe(TOPIC, "id"),)),
]


@pytest.mark.parametrize("call", CALLS)
def test_a_call_is_read_as_it_was_written(call):
    assert type(call).from_params(call.to_params()) == call


def test_fetch_and_receive_are_read():
    assert Fetch.from_params({"topic": TOPIC}) == Fetch(TOPIC)
    assert BatchFetch.from_params({"topics": [TOPIC]}) == BatchFetch((TOPIC,))
    receipts = [{"topic": TOPIC, "messageId": OTHER}]
    read = BatchReceive.from_params({"receipts": receipts})
    assert read == BatchReceive((Receipt(TOPIC, OTHER),))


@pytest.mark.parametrize("prefix", ["irn_", "waku_", "iridium_"])
def test_older_prefixes_are_understood(prefix):
    assert split_method(f"{prefix}publish") == (prefix, RelayMethod.PUBLISH)


@pytest.mark.parametrize(
    "name", ["", "publish", "irn_", "irn_dance", "wc_notifySubscribe"]
)
def test_an_unknown_method_is_unsupported(name):
    with pytest.raises(RemoteProtocolError) as caught:
        split_method(name)
    assert relay_error_code(caught.value) is RelayErrorCode.UNKNOWN_METHOD


PUBLISH = PUBLICATION.to_params()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"topic": "x"}, RelayErrorCode.INVALID_PAYLOAD),
        ({"topic": TOPIC.upper()}, RelayErrorCode.INVALID_PAYLOAD),
        ({"message": None}, RelayErrorCode.INVALID_PAYLOAD),
        ({"message": "AAAA\x00"}, RelayErrorCode.INVALID_PAYLOAD),
        ({"message": "é" * (256 * 1024 + 1)}, RelayErrorCode.INVALID_PAYLOAD),
        ({"message": "x" * (512 * 1024 + 1)}, RelayErrorCode.INVALID_PAYLOAD),
        ({"ttl": None}, RelayErrorCode.INVALID_PAYLOAD),
        ({"ttl": "30"}, RelayErrorCode.INVALID_PAYLOAD),
        ({"ttl": True}, RelayErrorCode.INVALID_PAYLOAD),
        ({"ttl": 0}, RelayErrorCode.HANDLER),
        ({"ttl": 2_592_001}, RelayErrorCode.HANDLER),
        ({"tag": "4000"}, RelayErrorCode.INVALID_PAYLOAD),
        ({"tag": -1}, RelayErrorCode.INVALID_PAYLOAD),
        ({"tag": 2**32}, RelayErrorCode.INVALID_PAYLOAD),
    ],
)
def test_a_publication_that_breaks_a_rule_is_refused(changes, code):
    with pytest.raises(RemoteProtocolError) as caught:
        Publication.from_params({**PUBLISH, **changes})
    assert relay_error_code(caught.value) is code


@pytest.mark.parametrize("ttl", [1, 30, 2_592_000])
def test_every_ttl_of_a_month_is_accepted(ttl):
    assert Publication.from_params({**PUBLISH, "ttl": ttl}).ttl == ttl


def test_what_newer_clients_add_is_ignored_and_what_older_omit_has_a_default():
    more = {**PUBLISH, "attestation": "x", "correlationId": 7, "tvf": {}}
    assert Publication.from_params(more) == PUBLICATION
    bare = {name: PUBLISH[name] for name in ("topic", "message", "ttl")}
    assert Publication.from_params(bare) == Publication(TOPIC, "AAAA", 0, 30)
    assert Publication.from_params({**PUBLISH, "message": ""}).message == ""


def test_an_unsubscribe_may_carry_any_id_or_none():
    assert Unsubscribe.from_params({"topic": TOPIC}) == Unsubscribe(TOPIC)
    assert Unsubscribe.from_params({"topic": TOPIC, "id": 7}) == Unsubscribe(TOPIC)


@pytest.mark.parametrize(
    ("batch", "name", "element"),
    [
        (BatchPublish, "messages", PUBLISH),
        (BatchSubscribe, "topics", TOPIC),
        (BatchFetch, "topics", TOPIC),
        (BatchUnsubscribe, "subscriptions", {"topic": TOPIC}),
        (BatchReceive, "receipts", {"topic": TOPIC, "messageId": OTHER}),
    ],
)
def test_a_batch_has_at_most_500_elements_of_its_kind(batch, name, element):
    batch.from_params({name: [element] * MAX_BATCH})
    for wrong in ({name: [element] * (MAX_BATCH + 1)}, {name: [7]}, {name: 7}, {}):
        with pytest.raises(RemoteProtocolError):
            batch.from_params(wrong)


def test_ids_are_the_clients_formulas():
    client_id = "did:key:z6Mkxyz"
    assert (
        subscription_id(TOPIC, client_id)
        == hashlib.sha256((TOPIC + client_id).encode()).hexdigest()
    )
    assert message_id("AAAA") == hashlib.sha256(b"AAAA").hexdigest()
    assert PUBLICATION.message_id == message_id("AAAA")


def test_a_delivery_is_read():
    data = {"topic": TOPIC, "message": "AAAA", "publishedAt": NOW * 1000, "tag": 4000}
    delivery = Delivery.from_params({"id": "id", "data": data})
    published = PublishedMessage(TOPIC, "AAAA", NOW * 1000, 4000)
    assert delivery == Delivery("id", published)
    assert published.message_id == message_id("AAAA")


@pytest.mark.parametrize(
    "data", [None, {}, {"topic": TOPIC}, {"topic": "x", "message": ""}, []]
)
def test_a_malformed_delivery_is_refused(data):
    with pytest.raises(RemoteProtocolError):
        Delivery.from_params({"id": "x", "data": data})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10) | st.just(TOPIC),
    lambda each: (
        st.lists(each, max_size=3)
        | st.dictionaries(st.sampled_from(["topic", "message", "ttl", "tag"]), each)
    ),
)


@given(
    st.sampled_from(
        [*{type(each) for each in CALLS}, Fetch, BatchFetch, BatchReceive, Delivery]
    ),
    st.dictionaries(
        st.sampled_from(
            ["topic", "topics", "message", "messages", "ttl", "tag", "receipts"]
        ),
        json_values,
    ),
)
def test_any_parameters_are_read_or_refused(kind, params):
    try:
        call = kind.from_params(params)
    except RemoteProtocolError:
        return
    if hasattr(call, "to_params"):
        assert kind.from_params(call.to_params()) == call


# --- the token that opens a connection ---

KEY = IdentityKey.from_seed(secret("client"))
URL = "wss://relay.example.org"


def client_auth(**changes) -> str:
    return make_client_auth(
        KEY, **{"aud": URL, "now": NOW, "nonce": bytes(32), **changes}
    )


@pytest.mark.parametrize(
    "case",
    [each for each in load("did_jwts")["cases"] if "relay auth" in each["name"]],
    ids=lambda case: case["name"],
)
def test_our_token_is_the_clients_byte_for_byte(case):
    key = IdentityKey.from_seed(bytes.fromhex(case["seed"]))
    claims = case["claims"]
    made = make_client_auth(
        key, aud=claims["aud"], now=claims["iat"], nonce=bytes.fromhex(claims["sub"])
    )
    assert made == case["jwt"]
    assert verify_client_auth(made, now=claims["iat"]) == key.did
    assert verify_client_auth(made, now=claims["exp"] + 120) == key.did


def test_the_audience_is_checked_only_against_a_list():
    assert verify_client_auth(client_auth(), now=NOW) == KEY.did
    assert verify_client_auth(client_auth(), now=NOW, audiences=[URL]) == KEY.did
    with pytest.raises(RemoteProtocolError) as caught:
        verify_client_auth(client_auth(), now=NOW, audiences=["wss://other"])
    assert caught.value.code is ErrorCode.MISMATCH


def test_no_act_is_accepted_and_the_specs_and_no_other():
    claims = {"iss": KEY.did, "sub": "00", "aud": URL, "iat": NOW, "exp": NOW + 3600}
    for act in (None, "client_auth"):
        token = sign_did_jwt({**claims, "act": act}, KEY)
        assert verify_client_auth(token, now=NOW) == KEY.did
    with pytest.raises(RemoteProtocolError):
        verify_client_auth(
            sign_did_jwt({**claims, "act": "notify_update"}, KEY), now=NOW
        )


@pytest.mark.parametrize("skew", [-121, 86_400 + 121])
def test_a_token_of_another_day_is_refused(skew):
    with pytest.raises(RemoteProtocolError):
        verify_client_auth(client_auth(), now=NOW + skew)
