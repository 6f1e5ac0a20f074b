"""DIDs, accounts, app URLs. Vectors: dids.json (did-jwt 2.0.3, relay-auth 1.0.4)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.walletconnect.people import DAPP
from tests.walletconnect.vectors import cases, load
from walletconnect.crypto.multikey import ED25519, X25519
from walletconnect.crypto.signing import IdentityKey
from walletconnect.errors import RemoteProtocolError
from walletconnect.identity.did import (
    AccountId,
    AppUrl,
    DidWebDocument,
    account_of,
    did_key,
    is_did_key,
    is_id_of,
    public_key_of,
    with_chain,
)

VECTORS = load("dids")
keys = st.binary(min_size=32, max_size=32)


@pytest.mark.parametrize("case", cases(VECTORS, label="kind"))
def test_it_writes_and_reads_the_released_clients_dids(case):
    if case["kind"] == "did:pkh":
        account = AccountId.parse(case["account"])
        assert account.did == case["did"]
        assert account_of(case["did"]) == account
        assert str(account) == case["account"]
        return
    prefix = X25519 if case["kind"] == "did:key x25519" else ED25519
    public_key = bytes.fromhex(case["public"])
    assert did_key(public_key, prefix) == case["did"]
    assert public_key_of(case["did"], prefix) == public_key
    assert (prefix + public_key).hex() == case["multicodec_hex"]
    if "seed" in case:
        key = IdentityKey.from_seed(bytes.fromhex(case["seed"]))
        assert (key.public_key, key.did) == (public_key, case["did"])


@pytest.mark.parametrize("case", cases(VECTORS, "negative"))
def test_it_refuses_every_text_but_the_canonical_one(case):
    assert not is_did_key(case["did"])
    with pytest.raises(RemoteProtocolError):
        public_key_of(case["did"])


@given(keys)
def test_a_key_has_one_did(public_key):
    assert public_key_of(did_key(public_key)) == public_key
    assert did_key(public_key).startswith("did:key:z6Mk")
    assert did_key(public_key, X25519).startswith("did:key:z6LS")


@given(st.text(max_size=80))
def test_any_text_is_a_did_or_refused(text):
    for did in (text, f"did:key:{text}", f"did:key:z{text}"):
        assert is_did_key(did) in (True, False)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "eip155:1",
        "eip155::0xab",
        "EIP155:1:0xab",
        "eip155:1:0xab:more",
        "eip155:1:0xab\n",
        "eip155:1:",
        "e:1:0xab",
        "eip155:1:" + "a" * 129,
        'eip155:1:0x"',
        None,
    ],
)
def test_a_malformed_account_is_refused(text):
    with pytest.raises(RemoteProtocolError):
        AccountId.parse(text)


def test_letter_case_of_an_ethereum_address_does_not_matter():
    mixed = AccountId.parse("eip155:1:0x9e667D8F27D017Fe55bC1C4CF0186248e8e11B9d")
    lower = AccountId.parse(str(mixed).lower())
    assert mixed != lower
    assert mixed.same_as(lower)
    assert mixed.key == lower.key
    assert lower.checksummed == mixed.checksummed == mixed


@pytest.mark.parametrize(
    "text",
    [
        "eip155:137:0x9e667D8F27D017Fe55bC1C4CF0186248e8e11B9d",
        "eip155:11155111:0x9e667d8f27d017fe55bc1c4cf0186248e8e11b9d",
        "eip155:0:0X9E667D8F27D017FE55BC1C4CF0186248E8E11B9D",
    ],
)
def test_an_ethereum_account_is_its_address_on_every_chain(text):
    account = AccountId.parse(text)
    assert account.key == "eip155:0x9e667d8f27d017fe55bc1c4cf0186248e8e11b9d"
    assert account.same_as(
        AccountId.parse("eip155:1:0x9e667D8F27D017Fe55bC1C4CF0186248e8e11B9d")
    )
    assert str(account) == text


def test_only_whole_addresses_are_compared_without_their_chain():
    assert not AccountId("eip155", "1", "0xab").same_as(
        AccountId("eip155", "137", "0xab")
    )
    solana = AccountId(
        "solana", "mainnet", "7S3P4HxJpyyigGzodYwHtCxZyUQe9JiBMHyRWXArAaKv"
    )
    assert not solana.same_as(AccountId("solana", "devnet", solana.address))
    assert not solana.same_as(AccountId("solana", "mainnet", solana.address.lower()))


def test_a_bare_address_is_completed_and_nothing_else():
    address = "0x9e667D8F27D017Fe55bC1C4CF0186248e8e11B9d"
    assert with_chain(address) == f"eip155:1:{address}"
    for text in (f"eip155:137:{address}", address[:-1], f"{address}0", "vitalik.eth"):
        assert with_chain(text) == text


def test_other_chains_keep_their_letters():
    account = AccountId.parse("cosmos:cosmoshub-3:cosmos1T2uf")
    assert account.key == str(account)
    assert account.checksummed == account
    assert not account.is_ethereum


@pytest.mark.parametrize(
    ("url", "text", "did"),
    [
        (
            "https://Dapp.example.org/",
            "https://dapp.example.org",
            "did:web:dapp.example.org",
        ),
        ("http://localhost:8000", "http://localhost:8000", "did:web:localhost:8000"),
        (
            "http://localhost:8000/dapps/shop/",
            "http://localhost:8000/dapps/shop",
            "did:web:localhost:8000/dapps/shop",
        ),
        ("http://[::1]:80/x", "http://[::1]/x", "did:web:[::1]/x"),
        (
            "https://[2001:DB8:0::1]:443",
            "https://[2001:db8::1]",
            "did:web:[2001:db8::1]",
        ),
        ("https://a.example:8443/", "https://a.example:8443", "did:web:a.example:8443"),
        ("HTTPS://a.example.:443/?q=1#top", "https://a.example", "did:web:a.example"),
        (
            " https://a.example/x?utm_source=y",
            "https://a.example/x",
            "did:web:a.example/x",
        ),
        (
            "https://a.example/a%2fb",
            "https://a.example/a%2Fb",
            "did:web:a.example/a%2Fb",
        ),
        (
            "https://m\u00fcnchen.example/stra\u00dfe",
            "https://xn--mnchen-3ya.example/stra%C3%9Fe",
            "did:web:xn--mnchen-3ya.example/stra%C3%9Fe",
        ),
        (
            "https://dapp-git-feature-notifications-acme-labs.vercel.app",
            "https://dapp-git-feature-notifications-acme-labs.vercel.app",
            "did:web:dapp-git-feature-notifications-acme-labs.vercel.app",
        ),
        ("https://a_b.example", "https://a_b.example", "did:web:a_b.example"),
    ],
)
def test_an_app_url_and_its_did(url, text, did):
    app = AppUrl.parse(url)
    assert str(app) == text
    assert app.did == did
    assert app.well_known("did.json") == f"{text}/.well-known/did.json"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "dapp.example.org",
        "ftp://dapp.example.org",
        "javascript:alert(1)",
        "https://",
        "https://user@dapp.example.org",
        "https://dapp.example.org:99999",
        "https://dapp.example.org/\n",
        "https://dapp.example.org/a b",
        "https://dapp.example.org\\@evil.example",
        "https://dapp.example.org/dapps/../admin",
        "https://[::1",
        "https://dapp.example.org/dapps/%2e%2e/admin",
        "https://[fe80::1%25eth0]",
        "https://-dapp.example.org",
        "https://dapp-.example.org",
        "https://dapp..example.org",
        "https://.example.org",
        "https://da%70p.example.org",
        "https://dapp.example.org:0",
        "https://127.1",
        "https://2130706433",
        "https://0x7f.0.0.1",
        "https://256.0.0.1",
        f"https://{'a' * 64}.example.org",
        f"https://{'a.' * 126}ab",
        "https://" + "a" * 3000,
        None,
    ],
)
def test_what_is_not_a_plain_web_address_is_refused(url):
    with pytest.raises(RemoteProtocolError):
        AppUrl.parse(url)


@pytest.mark.parametrize(
    ("app", "named"),
    [
        ("https://dapp.example.org", True),
        ("https://dapp.example.org/", True),
        ("https://DAPP.example.org/page", True),
        ("did:web:dapp.example.org", True),
        ("https://dapp.example.org:443", True),
        ("https://dapp.example.org./?page=2", True),
        ("did:web:dapp.example.org%3A443", True),
        ("https://dapp.example.org.evil.example", False),
        ("https://dapp.example.org:8443", False),
        ("did:web:evil.example", False),
        ("did:web:", False),
        ("nonsense", False),
    ],
)
def test_which_claims_name_the_app(app, named):
    assert DAPP.url.is_named_by(app) is named


@pytest.mark.parametrize(
    ("app", "named"),
    [
        ("http://localhost:8000/dapps/shop", True),
        ("http://localhost:8000/dapps/shop/", True),
        ("http://localhost:8000/dapps/shop/cart", True),
        ("http://localhost:8000/dapps/shopper", False),
        ("http://localhost:8000", False),
        ("did:web:localhost:8000/dapps/shop", True),
        ("did:web:localhost%3A8000:dapps:shop", True),
        ("did:web:localhost:8000:dapps:shop", True),
        ("did:web:localhost:8000", False),
    ],
)
def test_apps_that_share_a_host_are_distinguished(app, named):
    assert AppUrl.parse("http://localhost:8000/dapps/shop").is_named_by(app) is named


@pytest.mark.parametrize(
    ("did", "url"),
    [
        ("did:web:dapp.example.org", "https://dapp.example.org"),
        ("did:web:localhost%3A8000:dapps:shop", "http://localhost:8000/dapps/shop"),
        ("did:web:localhost.example.org", "https://localhost.example.org"),
        ("did:web:[::1]:8000/dapps/shop", "https://[::1]:8000/dapps/shop"),
    ],
)
def test_a_did_web_leads_to_its_app(did, url):
    assert str(AppUrl.of_did(did)) == url


def test_a_did_document_reads_what_it_writes():
    value = DAPP.document.to_value()
    assert DidWebDocument.from_value(value) == DAPP.document
    assert DAPP.document.authentication_did == DAPP.key.did


def test_a_did_document_without_references_is_read_by_position():
    value = DAPP.document.to_value()
    del value["keyAgreement"], value["authentication"]
    assert DidWebDocument.from_value(value) == DAPP.document


def test_a_did_document_with_references_may_have_any_order():
    value = DAPP.document.to_value()
    value["verificationMethod"].reverse()
    assert DidWebDocument.from_value(value) == DAPP.document


def test_a_did_document_may_embed_a_method_and_pad_its_key():
    value = DAPP.document.to_value()
    method = value["verificationMethod"][0]
    method["publicKeyJwk"]["x"] += "="
    value["keyAgreement"] = [method]
    assert DidWebDocument.from_value(value) == DAPP.document


@pytest.mark.parametrize(
    "host", [f"{'a' * 63}.example", f"{'a.' * 125}abc", "a.b.c.d.e.f.g.example"]
)
def test_a_host_may_be_as_long_as_dns_allows(host):
    assert AppUrl.parse(f"https://{host}").authority == host


def test_references_may_be_relative_to_the_document():
    value = DAPP.document.to_value()
    value["verificationMethod"].reverse()
    value["keyAgreement"] = ["#wc-notify-subscribe-key"]
    value["authentication"] = ["#wc-notify-authentication-key"]
    assert DidWebDocument.from_value(value) == DAPP.document
    for method in value["verificationMethod"]:
        method["id"] = "#" + method["id"].partition("#")[2]
    assert DidWebDocument.from_value(value) == DAPP.document
    value["keyAgreement"] = [DAPP.document.did + "#wc-notify-subscribe-key"]
    assert DidWebDocument.from_value(value) == DAPP.document


def test_references_to_another_document_are_not_ours():
    value = DAPP.document.to_value()
    value["keyAgreement"] = ["did:web:evil.example#wc-notify-subscribe-key"]
    value["verificationMethod"].reverse()
    with pytest.raises(RemoteProtocolError, match="keyAgreement names no X25519 key"):
        DidWebDocument.from_value(value)


OTHER_KEYS = [
    {
        "id": "#k1",
        "type": "JsonWebKey2020",
        "publicKeyJwk": {"kty": "EC", "crv": "P-256"},
    },
    {
        "id": "#k2",
        "type": "EcdsaSecp256k1RecoveryMethod2020",
        "blockchainAccountId": "x",
    },
    {
        "id": "#k3",
        "type": "Multikey",
        "publicKeyMultibase": "zQ3shokFTS3brHcDQrn82RUDfCZ",
    },
    7,
    None,
]


def test_keys_of_other_kinds_are_ignored():
    value = DAPP.document.to_value()
    value["verificationMethod"] = OTHER_KEYS + value["verificationMethod"]
    for role in ("keyAgreement", "authentication"):
        value[role] = ["#k1", "#k2", "#gone", 7, *value[role]]
    assert DidWebDocument.from_value(value) == DAPP.document
    del value["keyAgreement"], value["authentication"]
    assert DidWebDocument.from_value(value) == DAPP.document


def test_keys_may_be_written_as_multibase():
    value = DAPP.document.to_value()
    keys = {
        "keyAgreement": (DAPP.document.key_agreement, X25519),
        "authentication": (DAPP.document.authentication, ED25519),
    }
    for role, (key, prefix) in keys.items():
        value[role] = [
            {
                "id": f"#{role}",
                "type": "Multikey",
                "publicKeyMultibase": did_key(key, prefix).removeprefix("did:key:"),
            }
        ]
    value["verificationMethod"] = []
    assert DidWebDocument.from_value(value) == DAPP.document


@pytest.mark.parametrize(
    ("did", "ours"),
    [
        ("did:web:app.example", True),
        ("did:web:APP.example", True),
        ("did:web:app.example:shop", True),
        ("did:web:app.example/shop", True),
        ("did:web:other.example", False),
        ("did:web:example", False),
        ("did:web:app.example:other", False),
        ("did:web:app.example%3A8443", False),
        ("did:key:z6Mk", False),
        ("", False),
    ],
)
def test_the_id_of_a_document_must_fit_its_address(did, ours):
    assert is_id_of(did, AppUrl.parse("https://app.example/shop")) is ours


def _drop_methods(value):
    value["verificationMethod"] = []


def _wrong_curve(value):
    value["verificationMethod"][0]["publicKeyJwk"]["crv"] = "P-256"


def _short_key(value):
    value["verificationMethod"][1]["publicKeyJwk"]["x"] = "AAAA"


def _no_key(value):
    value["verificationMethod"][1]["publicKeyJwk"] = None


def _no_methods(value):
    value["verificationMethod"] = "x"


@pytest.mark.parametrize(
    "spoil", [_drop_methods, _wrong_curve, _short_key, _no_key, _no_methods]
)
def test_a_broken_did_document_is_refused(spoil):
    value = DAPP.document.to_value()
    spoil(value)
    with pytest.raises(RemoteProtocolError):
        DidWebDocument.from_value(value)


@pytest.mark.parametrize(
    "case", cases(load("key_agreement"), "low_order_public_keys", label="public")
)
def test_a_document_with_a_key_that_agrees_on_nothing_is_refused(case):
    low_order = bytes.fromhex(case["public"])
    document = DidWebDocument("did:web:a.example", low_order, bytes(32)).to_value()
    with pytest.raises(RemoteProtocolError, match="malformed public key"):
        DidWebDocument.from_value(document)
