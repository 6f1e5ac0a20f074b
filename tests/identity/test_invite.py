"""Invite keys of the Chat API, kept by the same server."""

from __future__ import annotations

import pytest

from common import clock
from tests.identity.conftest import cacao_of, identity_key, send, token
from tests.people import ALICE, CHARLIE
from tests.snapshots import rows_of
from walletconnect.crypto.multikey import X25519
from walletconnect.identity.did import did_key

pytestmark = pytest.mark.django_db

KEY, THEIRS = identity_key(1), identity_key(2)
INVITE = did_key(b"\x05" * 32, X25519)
OTHER_INVITE = did_key(b"\x06" * 32, X25519)
SUCCESS = {"status": "SUCCESS", "error": None, "value": None}


@pytest.fixture(autouse=True)
def registered(client):
    for wallet, key in ((ALICE, KEY), (CHARLIE, THEIRS)):
        cacao = cacao_of(wallet, key).to_value()
        assert send(client, "POST", "/identity", {"cacao": cacao})[0] == 200


def invite_token(*, wallet=ALICE, key=KEY, at=0, **changes):
    now = clock.now_s() + at
    claims = {"sub": INVITE, "iat": now, "exp": now + 86400}
    return token(wallet, key, **(claims | changes))


def register(client, *, act="register_invite", **changes):
    id_auth = invite_token(act=act, **changes)
    return send(client, "POST", "/invite", {"idAuth": id_auth})


def unregister(client, **changes):
    id_auth = invite_token(act="unregister_invite", **changes)
    return send(client, "DELETE", "/invite", {"idAuth": id_auth})


def resolve(client, account=ALICE.account):
    answer = client.get("/invite", {"account": account})
    return answer.status_code, answer.json()


def test_an_invite_key_is_registered_and_found(client):
    assert register(client) == (200, SUCCESS)
    found = {**SUCCESS, "value": {"inviteKey": INVITE}}
    assert resolve(client) == (200, found)
    assert resolve(client, ALICE.account.lower()) == (200, found)


def test_a_newer_invite_key_replaces_it_and_an_older_one_does_not(client):
    register(client, at=-10)
    register(client, sub=OTHER_INVITE)
    assert register(client, at=-5) == (200, SUCCESS)
    assert resolve(client)[1]["value"]["inviteKey"] == OTHER_INVITE


def test_unregistered_it_is_gone_also_when_the_registration_is_sent_again(client):
    register(client, at=-10)
    assert unregister(client) == (200, SUCCESS)
    register(client, at=-10)
    status, answer = resolve(client)
    assert (status, answer["error"]["name"]) == (404, "Invite key not found")
    assert ALICE.account in answer["error"]["message"]


@pytest.mark.parametrize(
    ("changes", "status", "name"),
    [
        ({"act": "unregister_invite"}, 400, "jwt_verification"),
        ({"sub": KEY.did}, 400, "jwt_verification"),
        ({"sub": None}, 400, "jwt_verification"),
        ({"sub": "05" * 32}, 400, "jwt_verification"),
        ({"aud": "https://keys.evil.example"}, 400, "jwt_verification"),
        ({"exp": 1}, 400, "jwt_verification"),
        ({"pkh": f"did:pkh:{CHARLIE.account}"}, 404, "Account not found"),
        ({"pkh": "nonsense"}, 400, "did"),
    ],
)
def test_one_wrong_claim_is_enough_to_refuse(client, changes, status, name):
    before = rows_of("identity")
    answer = register(client, **changes)
    assert (answer[0], answer[1]["error"]["name"]) == (status, name)
    assert rows_of("identity") == before


def test_only_a_registered_identity_key_sets_an_invite_key(client):
    before = rows_of("identity")
    stranger = identity_key(9)
    assert register(client, key=stranger)[0] == 404
    send(client, "DELETE", "/identity", {"idAuth": token(ALICE, KEY)})
    assert register(client)[0] == 404
    assert (
        rows_of("identity")["identity_inviteregistration"]
        == (before["identity_inviteregistration"])
    )


def test_charlie_cannot_take_alices_invite_key_away(client):
    register(client)
    status, _ = unregister(
        client, wallet=CHARLIE, key=THEIRS, pkh=f"did:pkh:{ALICE.account}"
    )
    assert status == 404
    assert resolve(client)[0] == 200


@pytest.mark.parametrize("account", ["", "nonsense", "eip155:1", "a:b:\x00"])
def test_malformed_accounts_are_refused(client, account):
    status, answer = resolve(client, account)
    assert (status, answer["error"]["name"]) == (400, "validation")
