"""The Keys Server: what the published clients send it, and what it must refuse.

The vectors come from the published packages.
"""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime

import pytest

from common import clock
from common.limits import Bucket
from identity.models import IdentityRegistration
from tests.identity.conftest import (
    KEYS_SERVER,
    cacao_of,
    identity_key,
    send,
    token,
    vector_file,
)
from tests.people import ALICE, ALICE_SECOND, BOB, CHARLIE
from tests.snapshots import rows_of
from walletconnect.identity.cacao import Cacao
from walletconnect.identity.jwt import sign_did_jwt

pytestmark = pytest.mark.django_db

CACAOS = vector_file("cacao.json")
ACCEPTED = [case for case in CACAOS["cases"] if "cacao" in case]
KEY = identity_key(1)
SUCCESS = {"status": "SUCCESS", "error": None, "value": None}
# When the vectors' tokens and messages were made.
THEN = datetime(2023, 8, 9, 12, 0, tzinfo=UTC)


def register(client, cacao):
    return send(client, "POST", "/identity", {"cacao": cacao})


def resolve(client, key):
    answer = client.get("/identity", {"publicKey": key.removeprefix("did:key:")})
    return answer.status_code, answer.json()


def unregister(client, id_auth):
    return send(client, "DELETE", "/identity", {"idAuth": id_auth})


def with_field(cacao, place, **changes):
    value = json.loads(json.dumps(cacao))
    value[place] |= changes
    return value


# --- registering ----------------------------------------------------------------------


@pytest.mark.parametrize("case", ACCEPTED, ids=lambda case: case["name"][:40])
def test_a_cacao_of_the_packages_is_returned_unchanged(client, settings, case):
    settings.KEYS_SERVER_URL = case["cacao"]["p"]["aud"]
    with clock.frozen(THEN):
        assert register(client, case["cacao"]) == (200, SUCCESS)
        status, answer = resolve(client, CACAOS["identity"]["did"])
    assert status == 200
    assert answer == {**SUCCESS, "value": {"cacao": case["cacao"]}}


@pytest.mark.parametrize("case", CACAOS["negative"], ids=lambda case: case["name"][:40])
def test_invalid_vectors_are_refused(client, settings, case):
    settings.KEYS_SERVER_URL = case["cacao"]["p"]["aud"]
    before = rows_of("identity")
    with clock.frozen(THEN):
        status, answer = register(client, case["cacao"])
    if (
        case["server_must"].startswith("reject")
        and "harmless" not in case["server_must"]
    ):
        assert (status, answer["status"], answer["value"]) == (400, "FAILURE", None)
        assert answer["error"]["name"] in {"cacao", "did"}
        assert rows_of("identity") == before
    else:
        assert (status, answer) == (200, SUCCESS)


def test_a_cacao_for_another_server_is_refused(client):
    """A server that received it could otherwise register the key everywhere."""
    before = rows_of("identity")
    cacao = cacao_of(ALICE, KEY, keys_server="https://keys.evil.example").to_value()
    status, answer = register(client, cacao)
    assert (status, answer["error"]["name"]) == (400, "cacao")
    assert "another Keys Server" in answer["error"]["message"]
    assert rows_of("identity") == before


@pytest.mark.parametrize("name", [KEYS_SERVER, "http://testserver"])
def test_a_cacao_may_use_every_name_that_leads_to_the_server(client, name):
    cacao = cacao_of(ALICE, KEY, keys_server=name).to_value()
    assert register(client, cacao) == (200, SUCCESS)


@pytest.mark.parametrize("path", ["/identity", "/invite"])
@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_half_a_character_is_malformed_json(client, method, path):
    body = '{"cacao": "\\ud800", "idAuth": "\\udfff"}'
    answer = client.generic(method, path, body, content_type="application/json")
    assert (answer.status_code, answer.json()["status"]) == (400, "FAILURE")


def test_registering_again_changes_nothing(client):
    cacao = cacao_of(ALICE, KEY).to_value()
    assert register(client, cacao) == (200, SUCCESS)
    before = rows_of("identity")
    assert register(client, cacao) == (200, SUCCESS)
    assert rows_of("identity") == before


def test_the_first_cacao_of_a_key_stays(client):
    first = cacao_of(ALICE, KEY).to_value()
    register(client, first)
    with clock.frozen(datetime.now(UTC).replace(year=2030)):
        later = cacao_of(ALICE, KEY).to_value()
        assert register(client, later) == (200, SUCCESS)
    assert resolve(client, KEY.did)[1]["value"]["cacao"] == first


def test_one_account_has_many_keys(client):
    keys = [identity_key(number) for number in range(1, 5)]
    for key in keys:
        assert register(client, cacao_of(ALICE, key).to_value())[0] == 200
    assert all(resolve(client, key.did)[0] == 200 for key in keys)


def test_a_key_belongs_to_one_account(client):
    mine = cacao_of(ALICE, KEY).to_value()
    register(client, mine)
    before = rows_of("identity")
    status, answer = register(client, cacao_of(CHARLIE, KEY).to_value())
    assert (status, answer["error"]["name"]) == (400, "cacao")
    assert rows_of("identity") == before
    assert resolve(client, KEY.did)[1]["value"]["cacao"] == mine


def test_a_cacao_that_was_stretched_by_a_line_is_refused(client):
    cacao = cacao_of(ALICE, KEY).to_value()
    before = rows_of("identity")
    for place in ("statement", "nonce", "domain", "aud"):
        changed = with_field(cacao, "p", **{place: "x\nURI: https://evil.example"})
        assert register(client, changed)[0] == 400
    assert rows_of("identity") == before


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (b"", "validation"),
        (b"not json", "validation"),
        (b"[]", "validation"),
        (b"{}", "validation"),
        (b'{"cacao": null}', "validation"),
        (b'{"cacao": 7}', "validation"),
        (b'{"cacao": {}}', "cacao"),
        (b'{"cacao": "text"}', "cacao"),
        (b'{"cacao": {"h": {}, "p": {}, "s": {}}}', "cacao"),
        (b"\xff\xfe", "validation"),
        (b'{"cacao": ' + b"[" * 5000 + b"]" * 5000 + b"}", "validation"),
    ],
)
def test_bodies_that_are_no_cacao_are_refused(client, body, name):
    answer = client.post("/identity", body, content_type="application/json")
    assert answer.status_code == 400
    assert answer.json()["error"]["name"] == name
    assert not IdentityRegistration.objects.exists()


def test_a_null_character_in_an_unused_field_is_harmless(client):
    cacao = cacao_of(ALICE, KEY).to_value()
    cacao["p"]["extra"] = "a\x00b"
    assert register(client, cacao) == (200, SUCCESS)
    assert resolve(client, KEY.did)[1]["value"]["cacao"] == cacao


def test_a_body_that_is_too_large_is_refused_before_it_is_read(client):
    answer = client.post(
        "/identity", b" " * (128 * 1024 + 1), content_type="application/json"
    )
    assert answer.status_code == 413
    assert answer.json()["status"] == "FAILURE"


# --- resolving ------------------------------------------------------------------------


def test_an_unknown_key_gets_the_error_of_the_spec(client):
    bare = KEY.did.removeprefix("did:key:")
    assert resolve(client, bare) == (
        404,
        {
            "status": "FAILURE",
            "error": {
                "name": "Identity key not found",
                "message": f"Cannot find Identity key with specified identifier {bare}",
            },
            "value": None,
        },
    )


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?publicKey=",
        f"?publicKey={KEY.did}",
        "?publicKey=z6LSeu9HkTHSfLLeUs2nnzUSNedgDUevfNQgQjQC23ZCit6F",
        "?publicKey=z6Mk",
        "?publicKey=" + "z" * 4000,
        "?publicKey=%00",
        "?key=z6MkreoEg82K5rXcVNxagoTsVUXVi3yfVjmxNygHL3LUeLDj",
    ],
)
def test_malformed_keys_are_refused(client, query):
    answer = client.get(f"/identity{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["name"] == "validation"


# --- unregistering --------------------------------------------------------------------


@pytest.mark.parametrize("unit", ["milliseconds", "seconds"])
def test_a_key_unregisters_itself_in_either_unit(client, unit):
    register(client, cacao_of(ALICE, KEY).to_value())
    now = clock.now_s()
    times = {"iat": now, "exp": now + 86400} if unit == "seconds" else {}
    assert unregister(client, token(ALICE, KEY, **times)) == (200, SUCCESS)
    assert resolve(client, KEY.did)[0] == 404


def test_the_token_of_the_vectors_unregisters(client, settings):
    (case,) = [
        case
        for case in vector_file("did_jwts.json")["cases"]
        if case["name"].startswith("unregister_identity")
    ]
    settings.KEYS_SERVER_URL = case["claims"]["aud"]
    at = datetime.fromtimestamp(case["claims"]["iat"] / 1000, UTC)
    with clock.frozen(THEN):
        register(client, ACCEPTED[0]["cacao"])
    with clock.frozen(at):
        assert unregister(client, case["jwt"]) == (200, SUCCESS)
    assert resolve(client, CACAOS["identity"]["did"])[0] == 404


def test_unregistering_twice_is_fine(client):
    register(client, cacao_of(ALICE, KEY).to_value())
    id_auth = token(ALICE, KEY)
    unregister(client, id_auth)
    before = rows_of("identity")
    assert unregister(client, id_auth) == (200, SUCCESS)
    assert rows_of("identity") == before


def test_an_account_spelled_in_lower_case_is_the_same(client):
    register(client, cacao_of(ALICE, KEY).to_value())
    pkh = f"did:pkh:{ALICE.account.lower()}"
    assert unregister(client, token(ALICE, KEY, pkh=pkh)) == (200, SUCCESS)


def test_an_unregistered_key_is_never_registered_again(client):
    cacao = cacao_of(ALICE, KEY).to_value()
    register(client, cacao)
    unregister(client, token(ALICE, KEY))
    before = rows_of("identity")
    for again in (
        cacao,
        cacao_of(ALICE, KEY).to_value(),
        cacao_of(BOB, KEY).to_value(),
    ):
        status, answer = register(client, again)
        assert (status, answer["error"]["name"]) == (400, "cacao")
    assert rows_of("identity") == before
    assert resolve(client, KEY.did)[0] == 404


def test_an_unregistered_key_leaves_its_cacao_behind(client):
    register(client, cacao_of(ALICE, KEY).to_value())
    unregister(client, token(ALICE, KEY))
    assert IdentityRegistration.objects.get().cacao == ""


@pytest.mark.parametrize(
    ("changes", "status", "name"),
    [
        ({"act": "register_identity"}, 400, "jwt_verification"),
        ({"act": None}, 400, "jwt_verification"),
        ({"aud": "https://keys.evil.example"}, 400, "jwt_verification"),
        ({"aud": None}, 400, "jwt_verification"),
        ({"aud": 7}, 400, "jwt_verification"),
        ({"iss": identity_key(2).did}, 400, "jwt_verification"),
        ({"iss": "did:key:z6Mk"}, 400, "jwt_verification"),
        ({"exp": 1}, 400, "jwt_verification"),
        ({"iat": 4102444800000, "exp": 4102531200000}, 400, "jwt_verification"),
        ({"exp": 4102444800000}, 400, "jwt_verification"),
        ({"iat": None}, 400, "jwt_verification"),
        ({"pkh": None}, 400, "did"),
        ({"pkh": "did:key:z6Mk"}, 400, "did"),
        ({"pkh": f"did:pkh:{ALICE_SECOND.account}"}, 404, "Account not found"),
    ],
)
def test_one_wrong_claim_is_enough_to_refuse(client, changes, status, name):
    register(client, cacao_of(ALICE, KEY).to_value())
    before = rows_of("identity")
    answer = unregister(client, token(ALICE, KEY, **changes))
    assert (answer[0], answer[1]["error"]["name"]) == (status, name)
    assert rows_of("identity") == before
    assert resolve(client, KEY.did)[0] == 200


def test_the_chain_of_an_account_does_not_matter(client):
    register(client, cacao_of(ALICE, KEY).to_value())
    pkh = f"did:pkh:eip155:137:{ALICE.address}"
    assert unregister(client, token(ALICE, KEY, pkh=pkh))[0] == 200
    assert resolve(client, KEY.did)[0] == 404


def test_a_signature_of_another_key_is_refused(client):
    register(client, cacao_of(ALICE, KEY).to_value())
    forged = token(ALICE, KEY).rpartition(".")[0]
    other = token(ALICE, identity_key(2)).rpartition(".")[2]
    status, answer = unregister(client, f"{forged}.{other}")
    assert (status, answer["error"]["name"]) == (400, "jwt_verification")
    assert resolve(client, KEY.did)[0] == 200


def test_charlie_cannot_unregister_alices_key(client):
    theirs = identity_key(3)
    register(client, cacao_of(ALICE, KEY).to_value())
    register(client, cacao_of(CHARLIE, theirs).to_value())
    # With his own key in the name of her account, and of an account that is not there.
    for pkh in (ALICE, BOB):
        status, answer = unregister(
            client, token(CHARLIE, theirs, pkh=f"did:pkh:{pkh.account}")
        )
        assert (status, answer["error"]["name"]) == (404, "Account not found")
    assert resolve(client, KEY.did)[0] == resolve(client, theirs.did)[0] == 200


def test_a_key_that_was_never_here_is_not_found(client):
    status, answer = unregister(client, token(ALICE, KEY))
    assert (status, answer["error"]["name"]) == (404, "Account not found")
    assert ALICE.account in answer["error"]["message"]
    assert not IdentityRegistration.objects.exists()


@pytest.mark.parametrize(
    "aud",
    [KEYS_SERVER, KEYS_SERVER + "/", "http://127.0.0.1:8000", "http://testserver"],
)
def test_the_server_goes_by_every_name_that_leads_to_it(client, aud):
    register(client, cacao_of(ALICE, KEY).to_value())
    assert unregister(client, token(ALICE, KEY, aud=aud)) == (200, SUCCESS)


def test_a_token_for_something_else_does_not_unregister(client):
    register(client, cacao_of(ALICE, KEY).to_value())
    claims = {"iat": clock.now_s(), "exp": clock.now_s() + 60, "iss": KEY.did}
    assert unregister(client, sign_did_jwt(claims, KEY))[0] == 400
    assert unregister(client, cacao_of(ALICE, KEY).text)[0] == 400
    assert resolve(client, KEY.did)[0] == 200


# --- the HTTP edge --------------------------------------------------------------------


def test_no_csrf_token_is_needed(settings):
    from django.test import Client

    strict = Client(enforce_csrf_checks=True)
    assert register(strict, cacao_of(ALICE, KEY).to_value()) == (200, SUCCESS)


def test_too_many_registrations_get_retry_after(client, settings, redis_client):
    settings.LIMITS = dataclasses.replace(
        settings.LIMITS, identity_register=Bucket(2, 1 / 60)
    )
    cacao = cacao_of(ALICE, KEY).to_value()
    assert [register(client, cacao)[0] for _ in range(3)] == [200, 200, 429]
    answer = client.post("/identity", b"{}", content_type="application/json")
    assert int(answer.headers["Retry-After"]) > 0
    # Asking is not limited by it.
    assert resolve(client, KEY.did)[0] == 200


def test_an_expired_cacao_is_replaced_by_a_renewed_one(client):
    def short_lived(year):
        made = cacao_of(ALICE, KEY)
        payload = made.payload.to_value() | {"exp": f"{year}-01-01T00:00:00.000Z"}
        from walletconnect.identity.cacao import CacaoPayload, build_message

        parsed = CacaoPayload.from_value(payload)
        return Cacao.signed(parsed, ALICE.sign(build_message(parsed))).to_value()

    with clock.frozen(datetime(2024, 6, 1, tzinfo=UTC)):
        first = short_lived(2025)
        assert register(client, first)[0] == 200
    with clock.frozen(datetime(2025, 6, 1, tzinfo=UTC)):
        assert register(client, first)[0] == 400
        second = short_lived(2026)
        assert register(client, second)[0] == 200
        assert resolve(client, KEY.did)[1]["value"]["cacao"] == second


@pytest.mark.parametrize(
    ("issued_at", "statement"),
    [
        ("2023-05-17T14:22:32+02:00", None),
        ("2023-05-17T12:22:32Z", "I further authorize this app."),
        ("2023-05-17T12:22:32.123456789-00:30", None),
    ],
)
def test_times_with_an_offset_are_signed_as_they_are_written(
    client, issued_at, statement
):
    from walletconnect.identity.cacao import CacaoPayload, build_message

    payload = cacao_of(ALICE, KEY).payload.to_value() | {"iat": issued_at}
    payload.pop("statement", None)
    if statement is not None:
        payload["statement"] = statement
    parsed = CacaoPayload.from_value(payload)
    made = Cacao.signed(parsed, ALICE.sign(build_message(parsed))).to_value()
    assert register(client, made)[0] == 200
    assert resolve(client, KEY.did)[1]["value"]["cacao"] == made
