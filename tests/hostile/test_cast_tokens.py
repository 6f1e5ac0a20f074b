"""Forged and malformed did-jwts in requests to the Cast Server.

Each request differs from a valid one in one place. All arrive in one batch; each gets its own
error response and changes nothing, and valid requests in the batch succeed.
"""

from __future__ import annotations

import dataclasses

import pytest
from django.conf import settings

from castserver.models import Subscriber
from common import clock
from common.limits import Bucket
from tests.castserver.world import Wallet, deliver, open_all
from tests.hostile.tokens import (
    FORGED,
    FUTURE,
    HEADER,
    HOUR,
    MONTH,
    NO_JWT,
    STRANGER,
    TOO_LONG,
    Forgery,
    encoded,
    malformed,
    with_unreduced_s,
    wrong,
)
from tests.hostile.unchanged import nothing_changes
from walletconnect.notify.methods import DELETE, SUBSCRIBE, UPDATE
from walletconnect.relay.rpc import JsonRpcError, JsonRpcResult

UNKNOWN = "unauthentic: the key server does not know the identity key"
NOT_ABOUT = "mismatch: cacao is not about this key and account"


def at(seconds, life=30):
    """Time claims of a token issued ``seconds`` from now."""
    return {"iat": clock.now_s() + seconds, "exp": clock.now_s() + seconds + life}


# name: (change of the claims, expected error)
CLAIMS = {
    "an unknown signer": (
        lambda f: {"iss": STRANGER.did, "signer": STRANGER},
        UNKNOWN,
    ),
    "somebody else's signature": (lambda f: {"signer": STRANGER}, FORGED),
    "no signer": (lambda f: {"iss": None}, malformed("claim iss")),
    "an X25519 signer": (
        lambda f: {"iss": f.wallet.key.did.replace("z6Mk", "z6LS")},
        UNKNOWN,
    ),
    "a signer with a zero character": (
        lambda f: {"iss": f.wallet.key.did + "\x00"},
        malformed("claim iss"),
    ),
    "an endless signer": (
        lambda f: {"iss": f.wallet.key.did * 100},
        "too_large: claim iss is too long",
    ),
    "a signer spelled oddly": (lambda f: {"iss": f.wallet.key.did + "1"}, UNKNOWN),
    "expired": (lambda f: at(-HOUR), "expired: did-jwt has expired"),
    "from the future": (lambda f: at(HOUR), FUTURE),
    "too long a life": (lambda f: at(0, life=2 * MONTH), TOO_LONG),
    "an end before its beginning": (lambda f: at(0, life=-1), TOO_LONG),
    "no iat": (lambda f: {"iat": None}, malformed("claim iat")),
    "no exp": (lambda f: {"exp": None}, malformed("claim exp")),
    "iat as text": (
        lambda f: {"iat": str(clock.now_s())},
        malformed("claim iat"),
    ),
    "iat with a fraction": (
        lambda f: {"iat": clock.now_s() + 0.5},
        malformed("claim iat"),
    ),
    "times in milliseconds": (
        lambda f: {"iat": clock.now_ms(), "exp": clock.now_ms() + 30_000},
        FUTURE,
    ),
    "an exp that no number holds": (
        lambda f: {"exp": 10**400},
        malformed("did-jwt claims"),
    ),
    "another dapp's audience": (lambda f: {"aud": STRANGER.did}, wrong("aud")),
    "no audience": (lambda f: {"aud": None}, wrong("aud")),
    "another app": (lambda f: {"app": "https://evil.example"}, wrong("app")),
    "an app below another name": (
        lambda f: {"app": f"{f.project.url}.evil.example"},
        wrong("app"),
    ),
    "an app that is none": (lambda f: {"app": 7}, malformed("claim")),
    "an endless app": (
        lambda f: {"app": f"{f.project.url}/{'a' * 300}"},
        "too_large: claim is too long",
    ),
    "an endless version": (
        lambda f: {"mjv": "1" * 300},
        "too_large: claim is too long",
    ),
    "no app": (lambda f: {"app": None}, malformed("claims of {act}")),
    "a foreign key server": (
        lambda f: {"ksu": "https://keys.evil.example"},
        wrong("ksu"),
    ),
    "an inner address for a key server": (
        lambda f: {"ksu": "http://169.254.169.254/"},
        wrong("ksu"),
    ),
    "no key server": (lambda f: {"ksu": None}, malformed("claim ksu")),
    "a list of key servers": (
        lambda f: {"ksu": [settings.KEYS_SERVER_URL]},
        malformed("claim ksu"),
    ),
    "another act": (lambda f: {"act": "notify_message"}, wrong("act")),
    "no act": (lambda f: {"act": None}, wrong("act")),
}
# A delete of the first generation has no account and no types.
OF_ACCOUNT_AND_SCOPE = {
    "another account": (lambda f: {"sub": Wallet("bob").account.did}, NOT_ABOUT),
    "an account of another namespace": (
        lambda f: {"sub": f.wallet.account.did.replace("eip155:1", "cosmos:hub-3")},
        NOT_ABOUT,
    ),
    "a subject that is no account": (
        lambda f: {"sub": "did:pkh:eip155"},
        malformed("account"),
    ),
    "no subject": (lambda f: {"sub": None}, malformed("claims of {act}")),
    "no scope": (lambda f: {"scp": None}, malformed("claims of {act}")),
    "a scope that is a list": (
        lambda f: {"scp": ["alerts"]},
        malformed("claim scp"),
    ),
    "sixteen types": (
        lambda f: {"scp": " ".join(f"type{n}" for n in range(16))},
        "too_large: too many types",
    ),
    "an endless type": (lambda f: {"scp": "a" * 300}, malformed("scope name")),
    "a type with a zero character": (
        lambda f: {"scp": "a\x00b"},
        malformed("scope name"),
    ),
}
# name: (replacement of the token, expected error)
TOKENS = {
    "no token": (lambda f: None, NO_JWT),
    "a number": (lambda f: 7, NO_JWT),
    "a list": (lambda f: [f.token()], NO_JWT),
    "nothing": (lambda f: "", NO_JWT),
    "two parts": (lambda f: f.token().rpartition(".")[0], NO_JWT),
    "four parts": (lambda f: f.token() + ".x", NO_JWT),
    "not ascii": (lambda f: f.token() + "é", NO_JWT),
    "a padded signature": (lambda f: f.token() + "==", malformed("base64url")),
    "no algorithm": (
        lambda f: f.token(header={"alg": "none", "typ": "JWT"}),
        malformed("did-jwt header"),
    ),
    "a weaker algorithm": (
        lambda f: f.token(header={"alg": "HS256", "typ": "JWT"}),
        malformed("did-jwt header"),
    ),
    "a header with more in it": (
        lambda f: f.token(header={**HEADER, "jwk": {}}),
        malformed("did-jwt header"),
    ),
    "no signature": (
        lambda f: f"{encoded(HEADER)}.{encoded(f.claims())}.",
        malformed("did-jwt signature"),
    ),
    "claims that are a list": (
        lambda f: f.token(claims=[1]),
        malformed("did-jwt claims"),
    ),
    "claims within claims": (
        lambda f: f.token(claims={"a": f.claims()}),
        malformed("claim ksu"),
    ),
    "a signature that is not reduced": (
        lambda f: with_unreduced_s(f.token()),
        FORGED,
    ),
}


def faults_of(forge):
    """Replacements of the token and their expected errors, by name."""
    by_claims = CLAIMS if forge().method is DELETE else CLAIMS | OF_ACCOUNT_AND_SCOPE
    found = {}
    for name, (change, expected) in by_claims.items():
        forgery = forge()
        token = forgery.token(**change(forgery))
        found[name] = forgery, token, expected.format(act=forgery.claims()["act"])
    for name, (make, expected) in TOKENS.items():
        forgery = forge()
        found[name] = forgery, make(forgery), expected
    return found


@pytest.fixture(autouse=True)
def high_rate_limits(settings):
    """The default limit is ten deletes at once per topic; these tests need more."""
    settings.LIMITS = dataclasses.replace(
        settings.LIMITS, notify_delete=Bucket(1000, 1)
    )


@pytest.fixture
def forger(project, alice):
    """Builds builders of Alice's requests, valid unless changed."""

    def maker(method):
        subscription = None if method is SUBSCRIBE else alice.subscribe(project)
        sym_key = subscription.sym_key if subscription else None
        return lambda: Forgery(project, alice, method, sym_key)

    return maker


@pytest.mark.parametrize("method", [SUBSCRIBE, UPDATE, DELETE], ids=lambda m: m.name)
def test_each_fault_gets_its_own_error_and_changes_nothing(forger, method):
    faults = faults_of(forger(method))
    forgeries = [forgery.publication(token) for forgery, token, _ in faults.values()]
    with nothing_changes():
        rows = deliver(*forgeries)
    reasons = {name: row.reason for name, row in zip(faults, rows, strict=True)}
    assert reasons == {name: expected for name, (_, _, expected) in faults.items()}
    assert {row.state for row in rows} == {"refused"}
    for forgery, _, expected in faults.values():
        [answer] = [
            each
            for each in open_all(forgery.answer_key, method.response_tag)
            if each.id == forgery.request_id
        ]
        # Only the error; the name is for the failure message.
        assert answer == JsonRpcError(
            forgery.request_id, -1, expected.partition(": ")[2]
        )


@pytest.mark.parametrize("method", [SUBSCRIBE, UPDATE, DELETE], ids=lambda m: m.name)
def test_a_valid_request_among_them_succeeds(forger, method):
    forge = forger(method)
    valid = forge()
    rows = deliver(
        *(
            forgery.publication(token)
            for forgery, token, _ in faults_of(forge).values()
        ),
        valid.publication(valid.token()),
    )
    assert (rows[-1].state, rows[-1].reason) == ("handled", "")
    assert {row.state for row in rows[:-1]} == {"refused"}
    [answer] = [
        each
        for each in open_all(valid.answer_key, method.response_tag)
        if each.id == valid.request_id
    ]
    assert isinstance(answer, JsonRpcResult)


def test_an_unlisted_type_is_stored_as_requested(forger, project):
    """The list of types changes, and a wallet may have read another version."""
    forgery = forger(SUBSCRIBE)()
    [row] = deliver(forgery.publication(forgery.token(scp="alerts another-type")))
    assert row.state == "handled"
    assert Subscriber.objects.get().scope == ["alerts", "another-type"]


def test_forged_requests_do_not_consume_the_rate_limit_of_a_client(forger, settings):
    """Anyone can name the did:key of a device; only the device can sign."""
    settings.LIMITS = dataclasses.replace(
        settings.LIMITS, subscribe_client=Bucket(3, 0.001)
    )
    forge = forger(SUBSCRIBE)
    forgeries = [forge() for _ in range(10)]
    rows = deliver(
        *(each.publication(each.token(signer=STRANGER)) for each in forgeries)
    )
    assert {row.reason for row in rows} == {FORGED}
    valid = [forge() for _ in range(4)]
    rows = [deliver(each.publication(each.token()))[0] for each in valid]
    assert [row.state for row in rows] == ["handled"] * 3 + ["refused"]
    assert rows[-1].reason == "refused: too many requests, try again later"
