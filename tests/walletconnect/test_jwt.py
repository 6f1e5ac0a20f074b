"""did-jwts. Vectors: did_jwts.json (did-jwt 2.0.3, relay-auth 1.0.4, notify-server)."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.walletconnect.people import NOW, secret
from tests.walletconnect.vectors import cases, load
from walletconnect.crypto.base64url import decode_base64url, encode_base64url
from walletconnect.crypto.keys import hash_text
from walletconnect.crypto.signing import IdentityKey, verify_ed25519
from walletconnect.errors import ErrorCode, RemoteProtocolError
from walletconnect.identity.jwt import LEEWAY, DidJwt, Times, sign_did_jwt

VECTORS = load("did_jwts")
KEY = IdentityKey.from_seed(secret("issuer"))
DAY = 86_400

CLAIMS = {
    "iss": KEY.did,
    "act": "notify_update",
    "aud": "did:key:receiver",
    "sub": "did:pkh:eip155:1:0xab",
    "app": "https://dapp.example.org",
    "ksu": "https://keys.example.org",
    "iat": NOW,
    "exp": NOW + 30,
}


def token(**changes) -> DidJwt:
    claims = {**CLAIMS, **changes}
    return DidJwt.parse(
        sign_did_jwt(
            {name: value for name, value in claims.items() if value is not ...}, KEY
        )
    )


def verify(jwt: DidJwt, **changes) -> DidJwt:
    expected = {"now": NOW, "act": "notify_update", "max_life": DAY, **changes}
    return jwt.verify(**expected)


def refusal(jwt: DidJwt, **changes) -> ErrorCode:
    with pytest.raises(RemoteProtocolError) as caught:
        verify(jwt, **changes)
    return caught.value.code


@pytest.mark.parametrize("case", cases(VECTORS))
def test_it_signs_and_verifies_every_released_token(case):
    key = IdentityKey.from_seed(bytes.fromhex(case["seed"]))
    assert key.public_key.hex() == case["public"]
    assert sign_did_jwt(case["claims"], key) == case["jwt"]
    jwt = DidJwt.parse(case["jwt"])
    assert jwt.claims == case["claims"]
    if "claims_json" in case:
        assert json.loads(case["claims_json"]) == jwt.claims
        assert hash_text(jwt.text) == case["sha256_of_jwt_text"]
    in_milliseconds = case["claims"]["iat"] > 10**11
    verified = jwt.verify(
        now=case["claims"]["iat"] // (1000 if in_milliseconds else 1),
        act=case["claims"].get("act"),
        max_life=30 * DAY,
        iss=key.did,
        times=Times.EITHER if in_milliseconds else Times.SECONDS,
    )
    assert verified.iss == case.get("client_id", key.did)


@pytest.mark.parametrize("case", cases(VECTORS, "negative"))
def test_it_refuses_what_a_server_must_refuse(case):
    with pytest.raises(RemoteProtocolError):
        DidJwt.parse(case["jwt"]).verify(
            now=case["checked_at"], act="notify_subscription", max_life=30 * DAY
        )


def test_the_valid_token_of_the_negatives_is_accepted():
    valid = next(case for case in VECTORS["negative"] if "expired" in case["name"])
    DidJwt.parse(valid["jwt"]).verify(
        now=valid["checked_at"] - DAY, act="notify_subscription", max_life=DAY
    )


@pytest.mark.parametrize("name", ["iss", "aud", "sub", "app"])
def test_it_refuses_a_claim_that_is_not_the_expected(name):
    verify(token(), **{name: CLAIMS[name]})
    if name != "iss":
        assert (
            refusal(token(**{name: "other"}), **{name: CLAIMS[name]})
            is ErrorCode.MISMATCH
        )
        assert (
            refusal(token(**{name: ...}), **{name: CLAIMS[name]}) is ErrorCode.MISMATCH
        )
    assert refusal(token(), **{name: "did:key:z6Mkother"}) is ErrorCode.MISMATCH


def test_it_refuses_another_act():
    assert refusal(token(), act="notify_delete") is ErrorCode.MISMATCH


def test_a_key_server_must_be_on_the_list():
    verify(token(), ksu=["https://keys.example.org"])
    assert refusal(token(), ksu=["https://other.example.org"]) is ErrorCode.MISMATCH
    allowed = frozenset({"https://keys.example.org"})
    for value in (..., 7, None, ["https://keys.example.org"], {}):
        assert refusal(token(ksu=value), ksu=allowed) is ErrorCode.MISMATCH


@pytest.mark.parametrize("iss", [None, 7, "did:key:z\x00", "did\nkey", "z" * 5000])
def test_an_issuer_is_a_line_that_may_be_looked_up(iss):
    """It is looked up before it is verified."""
    parsed = DidJwt.parse(sign_did_jwt({**CLAIMS, "iss": iss}, KEY))
    with pytest.raises(RemoteProtocolError):
        _ = parsed.iss


@pytest.mark.parametrize(
    ("skew", "code"),
    [
        (0, None),
        (30 + LEEWAY, None),
        (31 + LEEWAY, ErrorCode.EXPIRED),
        (-LEEWAY, None),
        (-LEEWAY - 1, ErrorCode.CLOCK),
        (DAY, ErrorCode.EXPIRED),
        (-DAY, ErrorCode.CLOCK),
    ],
)
def test_clocks_may_differ_by_two_minutes(skew, code):
    if code is None:
        verify(token(), now=NOW + skew)
    else:
        assert refusal(token(), now=NOW + skew) is code


def test_a_token_may_not_live_longer_than_its_kind():
    verify(token(exp=NOW + DAY))
    assert refusal(token(exp=NOW + DAY + 1)) is ErrorCode.MALFORMED
    assert refusal(token(exp=NOW - 1)) is ErrorCode.MALFORMED


@pytest.mark.parametrize(
    "value", ["1700000000", 1700000000.5, True, None, -1, 2**53, [], ...]
)
@pytest.mark.parametrize("name", ["iat", "exp"])
def test_times_are_whole_numbers(name, value):
    assert refusal(token(**{name: value})) is ErrorCode.MALFORMED


def test_milliseconds_are_read_only_where_they_are_expected():
    jwt = token(iat=NOW * 1000, exp=(NOW + 30) * 1000)
    verify(jwt, times=Times.EITHER)
    verify(token(), times=Times.EITHER)
    assert refusal(jwt) is ErrorCode.CLOCK
    late = NOW + 31 + LEEWAY
    assert refusal(jwt, times=Times.EITHER, now=late) is ErrorCode.EXPIRED


def test_the_signature_is_looked_at_first():
    jwt = token()
    forged = DidJwt(jwt.text, jwt.claims, bytes(64))
    assert refusal(forged, act="other", aud="other", now=0) is ErrorCode.UNAUTHENTIC


def test_the_header_may_have_its_members_in_either_order():
    # Servers in Rust write typ first.
    header = encode_base64url(b'{"typ":"JWT","alg":"EdDSA"}')
    claims = encode_base64url(json.dumps(CLAIMS).encode())
    signature = KEY.sign(f"{header}.{claims}".encode())
    verify(DidJwt.parse(f"{header}.{claims}.{encode_base64url(signature)}"))


@pytest.mark.parametrize(
    "header",
    [
        b'{"alg":"EdDSA"}',
        b'{"alg":"EdDSA","typ":"JWT","kid":"x"}',
        b'{"alg":"eddsa","typ":"JWT"}',
        b'["EdDSA","JWT"]',
        b"",
    ],
)
def test_any_other_header_is_refused(header):
    parts = token().text.split(".")
    with pytest.raises(RemoteProtocolError):
        DidJwt.parse(".".join([encode_base64url(header), *parts[1:]]))


@pytest.mark.parametrize(
    "text", [None, 1, b"a.b.c", "", "..", "a.b.c", "é.b.c", "a" * 600_000]
)
def test_an_invalid_token_is_refused(text):
    with pytest.raises(RemoteProtocolError):
        DidJwt.parse(text)


def test_one_token_has_one_text():
    text = token().text
    for other in (text + "=", text + "\n", " " + text, text.replace("-", "+", 1) + "+"):
        with pytest.raises(RemoteProtocolError):
            DidJwt.parse(other)


@given(st.binary(max_size=200))
def test_base64url_is_canonical_both_ways(content):
    text = encode_base64url(content)
    assert decode_base64url(text) == content
    assert "=" not in text


@given(st.text(alphabet="abcdAB01-_=+/ ", max_size=12))
def test_base64url_that_decodes_is_what_we_would_write(text):
    try:
        content = decode_base64url(text)
    except RemoteProtocolError:
        return
    assert encode_base64url(content) == text


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=10),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(st.text(max_size=5), children, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*CLAIMS, "x"]), json_values))
def test_arbitrary_signed_claims_are_refused_with_one_error(claims):
    text = sign_did_jwt({**claims, "iss": KEY.did}, KEY)
    with pytest.raises(RemoteProtocolError):
        verify(DidJwt.parse(text), aud=CLAIMS["aud"])


@given(st.text(max_size=100), st.text(max_size=100), st.text(max_size=100))
def test_arbitrary_input_is_refused_with_one_error(header, claims, signature):
    with pytest.raises(RemoteProtocolError):
        verify(DidJwt.parse(f"{header}.{claims}.{signature}"))


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=100), st.data())
def test_a_signature_fits_one_message_only(seed, message, data):
    key = IdentityKey.from_seed(seed)
    signature = key.sign(message)
    verify_ed25519(key.public_key, signature, message)
    place = data.draw(st.integers(0, 63))
    bent = bytearray(signature)
    bent[place] ^= data.draw(st.integers(1, 255))
    for wrong in ((bytes(bent), message), (signature, message + b"x"), (b"", message)):
        with pytest.raises(RemoteProtocolError):
            verify_ed25519(key.public_key, *wrong)


def test_a_signing_key_shows_its_did_only():
    assert repr(KEY) == f"IdentityKey(did='{KEY.did}')"
