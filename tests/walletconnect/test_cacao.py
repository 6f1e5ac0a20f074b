"""CACAOs. Vectors: cacao.json (texts by utils 2.10 to 2.25, signatures by ethers 5.7)."""

from __future__ import annotations

import base64
import copy
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cacaos import LIMITED_STATEMENT, identity_payload
from tests.walletconnect.people import BOB, KEYS_SERVER, NOW, W1, WX
from tests.walletconnect.vectors import cases, load
from walletconnect.crypto.ethereum import sign_eip191
from walletconnect.crypto.keys import hash_text
from walletconnect.errors import ErrorCode, RemoteProtocolError
from walletconnect.identity.authorization import ALL_APPS_STATEMENT, authorization_of
from walletconnect.identity.cacao import (
    Cacao,
    CacaoPayload,
    _parse_time,
    _recover_account,
    build_message,
    format_time,
)
from walletconnect.identity.contract_wallet import ContractCheck, ContractCheckNeeded

VECTORS = load("cacao")
CHECKED_AT = 1_800_000_000
IDENTITY = VECTORS["identity"]["did"]
RECAP_CASE = VECTORS["cases"][6]

# The verdict of the vectors on each negative; the two "accept" were signed by the account.
ACCEPTED = {
    "unknown header type": "accepting it is harmless",
    "signature without 0x": "accept",
    "signature with v 0/1 instead of 27/28": "accept",
}


@pytest.mark.parametrize("case", cases(VECTORS))
def test_it_verifies_every_released_cacao(case):
    cacao = Cacao.from_value(case["cacao"])
    assert build_message(cacao.payload) == case["message"]
    assert hash_text(build_message(cacao.payload)) == case["message_utf8_sha256"]
    assert str(cacao.verify(now=CHECKED_AT)) == case["account"]
    assert cacao.identity_key == IDENTITY
    private_key = bytes.fromhex(case["eth_private_key"][2:])
    assert (
        sign_eip191(build_message(cacao.payload), private_key)
        == case["eip191_signature"]
    )


@pytest.mark.parametrize("case", cases(VECTORS))
def test_a_cacao_is_served_unchanged(case):
    assert Cacao.from_value(case["cacao"]).to_value() == case["cacao"]
    text = json.dumps(case["cacao"])
    assert Cacao.from_json(text).to_value() == json.loads(text)


@pytest.mark.parametrize("case", cases(VECTORS))
def test_it_accepts_the_text_of_every_other_builder(case):
    private_key = bytes.fromhex(case["eth_private_key"][2:])
    for builder, other_text in case["other_builders_same_text"].items():
        text = case["message"] if other_text is True else other_text
        value = copy.deepcopy(case["cacao"])
        value["s"]["s"] = sign_eip191(text, private_key)
        cacao = Cacao.from_value(value)
        if case is RECAP_CASE and other_text is not True:
            # A builder of 2023 would hide what the recap grants.
            with pytest.raises(RemoteProtocolError):
                cacao.verify(now=CHECKED_AT)
        else:
            assert str(cacao.verify(now=CHECKED_AT)) == case["account"], builder


@pytest.mark.parametrize("case", cases(VECTORS, "negative"))
def test_it_refuses_what_a_server_must_refuse(case):
    if case["name"] in ACCEPTED:
        assert ACCEPTED[case["name"]] in case["server_must"]
        Cacao.from_value(case["cacao"]).verify(now=CHECKED_AT)
        return
    assert case["server_must"] == "reject"
    with pytest.raises(RemoteProtocolError):
        Cacao.from_value(case["cacao"]).verify(now=CHECKED_AT)


def payload(**changes) -> CacaoPayload:
    made = identity_payload(
        W1.account,
        identity_key=W1.identity_key.did,
        keys_server_url=KEYS_SERVER,
        nonce="ab" * 32,
        now=NOW,
    )
    return replace(made, **changes)


def signed(**changes) -> Cacao:
    """A CACAO that Alice really signed, with these fields."""
    made = payload(**changes)
    return Cacao.signed(made, sign_eip191(build_message(made), W1.private_key))


def refusal(cacao: Cacao, **expected) -> ErrorCode:
    with pytest.raises(RemoteProtocolError) as caught:
        cacao.verify(**{"now": NOW, **expected})
    return caught.value.code


def test_our_own_registration_looks_like_the_clients():
    value = signed().to_value()
    assert value["h"] == {"t": "eip4361"}
    assert value["p"] == {
        "aud": KEYS_SERVER,
        "statement": "",
        "domain": "keys.example.org",
        "iss": W1.account.did,
        "nonce": "ab" * 32,
        "iat": "2023-11-14T22:13:20.000Z",
        "version": "1",
        "resources": [W1.identity_key.did],
    }
    assert value["s"]["t"] == "eip191"
    assert signed().verify(now=NOW) == W1.account


def test_it_compares_what_a_sign_in_expects():
    cacao = signed()
    cacao.verify(now=NOW, domain="keys.example.org", nonce="ab" * 32, aud=KEYS_SERVER)
    assert refusal(cacao, domain="evil.example") is ErrorCode.MISMATCH
    assert refusal(cacao, nonce="cd" * 32) is ErrorCode.MISMATCH
    assert refusal(cacao, aud="https://evil.example") is ErrorCode.MISMATCH


@pytest.mark.parametrize("field", ["domain", "nonce", "statement", "request_id", "uri"])
@pytest.mark.parametrize("letter", ["\n", "\r", "\x00", "\x7f", "\u2028"])
def test_no_field_may_hold_a_control_character(field, letter):
    with pytest.raises(RemoteProtocolError):
        signed(**{field: f"a{letter}b"})


def test_the_cacao_has_exactly_one_key():
    for field in ("statement", "domain", "request_id"):
        assert refusal(signed(**{field: WX.identity_key.did})) is ErrorCode.MALFORMED
    hidden = "https://x.example/?k=did%3Akey%3A" + WX.identity_key.did[8:]
    assert refusal(signed(request_id=hidden)) is ErrorCode.MALFORMED
    two = (W1.identity_key.did, WX.identity_key.did)
    assert refusal(signed(resources=two)) is ErrorCode.MALFORMED
    assert refusal(signed(resources=())) is ErrorCode.MALFORMED
    assert refusal(signed(resources=None)) is ErrorCode.MALFORMED


def test_the_key_is_in_the_first_place_that_holds_one():
    key = W1.identity_key.did
    url = f"https://dapp.example.org?walletconnect_identity_key={key}"
    in_query = signed(aud=url, resources=(KEYS_SERVER,))
    encoded = signed(aud=url.replace(":", "%3A").replace("https%3A", "https:"))
    assert replace(encoded.payload, resources=None).identity_key == key
    assert encoded.verify(now=NOW) == W1.account
    in_uri = signed(aud="https://x.example", uri=url, resources=(KEYS_SERVER,))
    in_aud = signed(aud=key, resources=(KEYS_SERVER,))
    for cacao in (in_query, in_uri, in_aud, signed()):
        assert cacao.identity_key == key
        assert cacao.verify(now=NOW) == W1.account


def test_a_key_that_is_not_a_canonical_did_is_not_found():
    bent = W1.identity_key.did[:-1] + "0"
    with pytest.raises(RemoteProtocolError):
        signed(resources=(bent,)).verify(now=NOW)


@pytest.mark.parametrize(
    ("changes", "now", "code"),
    [
        ({}, NOW - 120, None),
        ({}, NOW - 121, ErrorCode.CLOCK),
        ({}, NOW + 10**8, None),
        ({"exp": format_time(NOW)}, NOW + 120, None),
        ({"exp": format_time(NOW)}, NOW + 121, ErrorCode.EXPIRED),
        ({"nbf": format_time(NOW)}, NOW - 120, None),
        ({"nbf": format_time(NOW + 60)}, NOW - 61, ErrorCode.CLOCK),
        ({"iat": "yesterday"}, NOW, ErrorCode.MALFORMED),
        ({"iat": "2023-11-14T22:13:20"}, NOW, ErrorCode.MALFORMED),
        ({"exp": "never"}, NOW, ErrorCode.MALFORMED),
    ],
)
def test_its_times_are_checked(changes, now, code):
    if code is None:
        signed(**changes).verify(now=now)
    else:
        assert refusal(signed(**changes), now=now) is code


def test_a_contract_decides_about_its_signature_and_about_nothing_else():
    cacao = replace(signed(), signature_type="eip1271")
    with pytest.raises(ContractCheckNeeded) as needed:
        cacao.verify(now=NOW)
    check = needed.value.check
    assert check.chain_id == int(cacao.account.reference)
    assert check.address == cacao.account.address.lower()
    assert ContractCheck.from_json(check.to_json()) == check
    accepted = cacao.accepted_by_contract(check)
    assert accepted.verify(now=NOW) == cacao.account
    with pytest.raises(ContractCheckNeeded):
        cacao.verify(now=NOW)
    # The answer is about this text and this signature only.
    other = replace(accepted, payload=replace(cacao.payload, nonce="other"))
    with pytest.raises(ContractCheckNeeded):
        other.verify(now=NOW)
    assert refusal(accepted, now=0) is ErrorCode.CLOCK


def test_unsupported_forms_are_refused():
    assert refusal(replace(signed(), signature_type="bls")) is ErrorCode.UNSUPPORTED
    assert refusal(replace(signed(), header="other")) is ErrorCode.UNSUPPORTED
    assert refusal(signed(version="2")) is ErrorCode.UNSUPPORTED
    solana = "did:pkh:solana:4sGjMW1sUnHzSxGspuhpqLDx6wiyjNtZ:7S3P4HxJpyyigGzodYwH"
    assert refusal(signed(iss=solana)) is ErrorCode.UNSUPPORTED


def test_verify_signer_accepts_one_key_and_one_account():
    cacao = signed()
    cacao.verify_signer(W1.identity_key.did, W1.account, now=NOW)
    for did, account in (
        (WX.identity_key.did, W1.account),
        (W1.identity_key.did, BOB.account),
    ):
        with pytest.raises(RemoteProtocolError) as caught:
            cacao.verify_signer(did, account, now=NOW)
        assert caught.value.code is ErrorCode.MISMATCH


def test_a_signature_is_recovered_once_and_everything_else_checked_again():
    """A device signs every receipt with the key of one CACAO."""
    cacao = signed(exp=format_time(NOW))
    cacao.verify_signer(W1.identity_key.did, W1.account, now=NOW)
    recovered = _recover_account.cache_info().misses
    again = Cacao.from_value(cacao.to_value())
    again.verify_signer(W1.identity_key.did, W1.account, now=NOW)
    assert _recover_account.cache_info().misses == recovered
    assert refusal(again, now=NOW + 121) is ErrorCode.EXPIRED
    forged = replace(again, signature=signed(nonce="00").signature)
    for _ in range(2):
        assert refusal(forged) is ErrorCode.UNAUTHENTIC


def test_a_changed_field_breaks_the_signature():
    for field, value in (
        ("domain", "evil.example"),
        ("nonce", "00"),
        ("aud", "https://evil.example"),
        ("statement", "I give everything away"),
        ("request_id", "7"),
        ("exp", format_time(NOW + 999)),
        ("iss", BOB.account.did),
    ):
        cacao = replace(signed(), payload=payload(**{field: value}))
        assert refusal(cacao) is ErrorCode.UNAUTHENTIC, field


def test_the_account_may_be_in_lower_case():
    assert signed(iss=W1.account.did.lower()).verify(now=NOW).same_as(W1.account)


def test_an_empty_list_of_resources_may_have_a_heading_or_none():
    made = payload(aud=W1.identity_key.did, resources=())
    for text in (build_message(made), build_message(made) + "\nResources:"):
        cacao = Cacao.signed(made, sign_eip191(text, W1.private_key))
        assert cacao.verify(now=NOW) == W1.account


def test_times_of_javascript_and_of_rust_are_read():
    assert _parse_time("2023-08-09T10:11:12.345Z") == 1_691_575_872
    assert _parse_time("2023-08-09T12:11:12+02:00") == 1_691_575_872
    assert _parse_time("2023-08-09T10:11:12.345678901+00:00") == 1_691_575_872
    assert _parse_time(format_time(NOW)) == NOW


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=20),
        lambda each: (
            st.lists(each, max_size=3)
            | st.dictionaries(st.sampled_from(["h", "p", "s", "t", "iss", "aud"]), each)
        ),
    )
)
def test_arbitrary_input_is_refused_with_one_error(value):
    with pytest.raises(RemoteProtocolError):
        Cacao.from_value(value)


# --- permissions (v1) ---


def recap(*actions: str) -> str:
    attenuations = {f"manage/{action}": [{}] for action in actions}
    text = json.dumps({"att": {"https://notify.walletconnect.com": attenuations}})
    return "urn:recap:" + base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def granting(*actions: str, **changes) -> Cacao:
    resources = (KEYS_SERVER, recap(*actions))
    return signed(aud=W1.identity_key.did, resources=resources, **changes)


def test_a_statement_is_a_permission():
    one = authorization_of(
        signed(statement=LIMITED_STATEMENT, domain="dapp.example.org")
    )
    assert one.allows("dapp.example.org")
    assert one.allows("dapp.example.org/dapps/shop")
    assert not one.allows("dapp.example.org.evil.example")
    assert not one.allows("other.example.org")
    assert not one.allows(None)
    every = authorization_of(signed(statement=ALL_APPS_STATEMENT))
    assert every.allows("dapp.example.org")
    assert every.allows(None)


@pytest.mark.parametrize(
    ("who", "what"), [("DAPP", "this domain"), ("WALLET", "ALL domains")]
)
@pytest.mark.parametrize(
    "tail",
    [
        "using my WalletConnect identity.",
        "and manage my identity at keys.walletconnect.com.",
        "and manage my identity at identity.walletconnect.com}.",
    ],
)
def test_the_statements_of_autumn_2023_are_permissions(who, what, tail):
    statement = (
        f"I further authorize this {who} to send and receive messages on my behalf "
        f"for {what} {tail}"
    )
    allowed = authorization_of(
        signed(statement=statement, domain="dapp.example.org")
    ).allows
    assert allowed("dapp.example.org")
    assert allowed(None) is allowed("other.example.org") is (who == "WALLET")


@pytest.mark.parametrize(
    "statement",
    [
        None,
        "",
        "Hello",
        LIMITED_STATEMENT + " ",
        # Contains a word of a known statement, and is another one.
        "I further authorize this WALLET to show me messages.",
    ],
)
def test_any_other_statement_permits_nothing(statement):
    nothing = authorization_of(signed(statement=statement))
    assert not nothing.allows("keys.example.org")
    with pytest.raises(RemoteProtocolError) as caught:
        nothing.require(None)
    assert caught.value.code is ErrorCode.UNAUTHORIZED


def test_a_recap_permits_what_the_text_shows():
    cacao = granting("all-apps-notifications")
    assert cacao.verify(now=NOW) == W1.account
    assert authorization_of(cacao).allows(None)
    one = granting("dapp.example.org-notifications", statement="Hello")
    assert one.verify(now=NOW) == W1.account
    assert "Hello I further authorize" in build_message(one.payload)
    assert authorization_of(one).allows("dapp.example.org")
    assert not authorization_of(one).allows(None)


def test_a_recap_that_the_text_hides_permits_nothing():
    shown = build_message(granting("dapp.example.org-notifications").payload).split(
        "\n"
    )[3]
    cacao = granting("all-apps-notifications", statement=shown)
    assert cacao.verify(now=NOW) == W1.account
    assert not authorization_of(cacao).allows(None)
    assert not authorization_of(cacao).allows("dapp.example.org")


def test_several_grants_are_described_as_the_client_does():
    text = build_message(granting("b-notifications", "a-notifications").payload)
    assert (
        "(1) 'manage': 'a-notifications', 'b-notifications' for "
        "'https://notify.walletconnect.com'." in text
    )


def test_a_recap_that_cannot_be_read_is_a_plain_resource():
    for rubbish in ("urn:recap:!!!!", "urn:recap:e30", "urn:recap:" + "A" * 10):
        cacao = signed(aud=W1.identity_key.did, resources=(KEYS_SERVER, rubbish))
        assert cacao.verify(now=NOW) == W1.account
        assert not authorization_of(cacao).allows(None)
