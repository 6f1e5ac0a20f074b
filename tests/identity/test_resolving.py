"""Whom a key speaks for: asked on an allow-list, verified here, remembered briefly."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from common import clock
from identity import services as identity
from identity.models import IdentityRegistration, KnownIdentity
from identity.services import KeysServerUnavailable
from tests.identity.conftest import KEYS_SERVER, cacao_of, identity_key, send, token
from tests.people import ALICE, BOB, CHARLIE
from walletconnect.identity.cacao import Cacao, CacaoPayload, build_message

pytestmark = pytest.mark.django_db

KEY, OTHER = identity_key(1), identity_key(2)


@pytest.fixture
def registered(client):
    cacao = cacao_of(ALICE, KEY)
    send(client, "POST", "/identity", {"cacao": cacao.to_value()})
    return cacao


def account_of(found, key=KEY):
    return str(found[key.did].account)


def resolve(asked):
    """Asked, looked up by the task if need be, and asked again as a message is."""
    try:
        return identity.resolve_identity(asked)
    except KeysServerUnavailable:
        identity.look_up_identities()
    return identity.resolve_identity(asked)


# --- our own server -------------------------------------------------------------------


def test_our_own_server_is_read_in_process(registered, django_assert_num_queries):
    asked = [(KEY.did, KEYS_SERVER), (OTHER.did, KEYS_SERVER)]
    with django_assert_num_queries(1):
        found = identity.resolve_identity(asked)
    assert set(found) == {KEY.did}
    assert account_of(found) == ALICE.account
    assert not KnownIdentity.objects.exists()


@pytest.mark.parametrize("ksu", [KEYS_SERVER + "/", "http://127.0.0.1:8000"])
def test_our_own_server_goes_by_every_name_that_leads_to_it(registered, ksu):
    assert account_of(identity.resolve_identity([(KEY.did, ksu)])) == ALICE.account


def test_an_unregistered_key_is_unknown_at_once(client, registered):
    assert identity.resolve_identity([(KEY.did, KEYS_SERVER)])
    send(client, "DELETE", "/identity", {"idAuth": token(ALICE, KEY)})
    assert identity.resolve_identity([(KEY.did, KEYS_SERVER)]) == {}
    assert identity.known_identity(KEY.did) is None


def test_a_registered_cacao_is_verified_again(registered):
    forged = registered.to_value()
    forged["p"]["iss"] = f"did:pkh:{CHARLIE.account}"
    text = Cacao.from_value(forged).text
    IdentityRegistration.objects.update(cacao=text, account=CHARLIE.account)
    assert identity.resolve_identity([(KEY.did, KEYS_SERVER)]) == {}


@pytest.mark.parametrize("second", [0, 1, 29, 30, 58, 59])
def test_a_cacao_counts_within_two_minutes_of_our_time_to_the_second(
    registered, second
):
    signed_at = datetime(2026, 3, 1, 12, 0, second, tzinfo=UTC)
    with clock.frozen(signed_at):
        cacao = cacao_of(ALICE, KEY)
    IdentityRegistration.objects.update(cacao=cacao.text)
    for offset, counts in ((-121, False), (-120, True), (-119, True), (119, True)):
        with clock.frozen(signed_at + timedelta(seconds=offset)):
            found = identity.resolve_identity([(KEY.did, KEYS_SERVER)])
            assert bool(found) is counts, offset


def test_a_row_under_another_keys_name_is_refused(registered):
    IdentityRegistration.objects.update(public_key=OTHER.did.removeprefix("did:key:"))
    assert identity.resolve_identity([(OTHER.did, KEYS_SERVER)]) == {}


# --- other servers --------------------------------------------------------------------


def test_the_answer_of_another_server_is_cached(other_keys_server):
    other_keys_server.knows(cacao_of(ALICE, KEY, keys_server=other_keys_server.url))
    asked = [(KEY.did, other_keys_server.url)]
    for _ in range(3):
        assert account_of(resolve(asked)) == ALICE.account
    ((method, path, _),) = other_keys_server.received
    assert method == "GET"
    assert path == f"/identity?publicKey={KEY.did.removeprefix('did:key:')}"


def test_the_cache_expires_after_five_minutes(other_keys_server):
    other_keys_server.knows(cacao_of(ALICE, KEY))
    asked = [(KEY.did, other_keys_server.url)]
    resolve(asked)
    other_keys_server.knows_nothing()
    now = clock.now()
    with clock.frozen(now + timedelta(seconds=290)):
        assert resolve(asked)
    with clock.frozen(now + timedelta(seconds=310)):
        assert resolve(asked) == {}
        assert identity.known_identity(KEY.did) is None


def test_an_unknown_key_is_cached_for_half_a_minute(other_keys_server):
    other_keys_server.knows_nothing()
    asked = [(KEY.did, other_keys_server.url)]
    assert resolve(asked) == {}
    assert resolve(asked) == {}
    assert len(other_keys_server.received) == 1
    other_keys_server.knows(cacao_of(ALICE, KEY))
    with clock.frozen(clock.now() + timedelta(seconds=31)):
        assert account_of(resolve(asked)) == ALICE.account


def test_a_server_that_is_not_allowed_is_never_called(other_keys_server, settings):
    other_keys_server.knows(cacao_of(ALICE, KEY))
    settings.ALLOWED_KEYS_SERVERS = [KEYS_SERVER]
    assert resolve([(KEY.did, other_keys_server.url)]) == {}
    assert other_keys_server.received == []


@pytest.mark.parametrize("ksu", ["", "nonsense", "file:///etc/passwd", "http://[::1"])
def test_malformed_server_urls_are_never_called(ksu):
    assert resolve([(KEY.did, ksu)]) == {}


@pytest.mark.parametrize("did", ["", "z6Mk", "did:key:z6LSx", "did:pkh:eip155:1:0x0"])
def test_malformed_keys_are_never_looked_up(other_keys_server, did):
    assert resolve([(did, other_keys_server.url)]) == {}
    assert other_keys_server.received == []


def test_a_server_cannot_assert_a_false_identity(other_keys_server):
    forged = cacao_of(CHARLIE, KEY).to_value()
    forged["p"]["iss"] = f"did:pkh:{ALICE.account}"
    other_keys_server.knows(Cacao.from_value(forged))
    assert resolve([(KEY.did, other_keys_server.url)]) == {}
    assert identity.known_identity(KEY.did) is None


def test_a_cacao_about_another_key_is_refused(other_keys_server):
    other_keys_server.knows(cacao_of(ALICE, OTHER))
    assert resolve([(KEY.did, other_keys_server.url)]) == {}


def test_a_cacao_whose_time_is_over_is_refused(other_keys_server):
    payload = cacao_of(ALICE, KEY).payload.to_value()
    short = CacaoPayload.from_value(payload | {"exp": "2030-01-01T00:00:00.000Z"})
    other_keys_server.knows(Cacao.signed(short, ALICE.sign(build_message(short))))
    asked = [(KEY.did, other_keys_server.url)]
    assert resolve(asked)
    # Also one that was fine when it was fetched.
    with clock.frozen(datetime(2030, 1, 1, 0, 4, tzinfo=UTC)):
        KnownIdentity.objects.update(checked_at=clock.now())
        assert resolve(asked) == {}
        assert identity.known_identity(KEY.did) is None


@pytest.mark.parametrize(
    "answer",
    [
        (500, {}),
        (429, {}),
        (302, {}),
        (200, b"not json"),
        (200, {}),
        (200, {"value": {"cacao": "text"}}),
    ],
)
def test_a_server_without_a_sensible_answer_means_try_later(other_keys_server, answer):
    other_keys_server.answers = [answer]
    with pytest.raises(KeysServerUnavailable) as error:
        resolve([(KEY.did, other_keys_server.url)])
    assert error.value.unresolved == {KEY.did}
    assert identity.known_identity(KEY.did) is None
    waiting = KnownIdentity.objects.get()
    assert waiting.reason
    assert waiting.next_attempt_at > clock.now()


def test_resolved_keys_are_returned_when_a_server_is_silent(
    client, start_keys_server, registered
):
    silent, answering = start_keys_server(), start_keys_server()
    silent.answers = [(503, {})]
    answering.knows(cacao_of(BOB, OTHER))
    third = identity_key(3)
    asked = [
        (KEY.did, KEYS_SERVER),
        (OTHER.did, answering.url),
        (third.did, silent.url),
    ]
    with pytest.raises(KeysServerUnavailable) as error:
        resolve(asked)
    assert set(error.value.resolved) == {KEY.did, OTHER.did}
    assert error.value.unresolved == {third.did}
    silent.knows(cacao_of(CHARLIE, third))
    with clock.frozen(clock.now() + timedelta(seconds=5)):
        found = resolve(asked)
    assert {str(cacao.account) for cacao in found.values()} == {
        ALICE.account,
        BOB.account,
        CHARLIE.account,
    }
    assert len(answering.received) == 1


def test_a_task_calls_another_server(other_keys_server):
    """A slow server must not hold the worker that handles messages."""
    asked = [(KEY.did, other_keys_server.url)]
    for _ in range(2):
        with pytest.raises(KeysServerUnavailable):
            identity.resolve_identity(asked)
    assert other_keys_server.received == []
    assert identity.look_up_identities() == 1


def test_many_keys_are_looked_up_concurrently(start_keys_server, monkeypatch):
    server = start_keys_server()
    server.knows_nothing()
    answer = server.next_answer

    def slowly():
        time.sleep(0.1)
        return answer()

    monkeypatch.setattr(server, "next_answer", slowly)
    asked = [(identity_key(number).did, server.url) for number in range(1, 17)]
    start = clock.monotonic()
    assert resolve(asked) == {}
    assert clock.monotonic() - start < 16 * 0.1
    assert len(server.received) == 16


def test_an_empty_query_runs_no_statement(django_assert_num_queries):
    with django_assert_num_queries(0):
        assert identity.resolve_identity([]) == {}


# --- inside transactions --------------------------------------------------------------


def test_a_resolved_key_is_known_inside_the_transaction(
    other_keys_server, registered, django_assert_num_queries
):
    other_keys_server.knows(cacao_of(BOB, OTHER))
    resolve([(OTHER.did, other_keys_server.url)])
    with django_assert_num_queries(2):
        found = identity.known_identities([KEY.did, OTHER.did, identity_key(3).did])
    assert account_of(found) == ALICE.account
    assert account_of(found, OTHER) == BOB.account
    assert len(found) == 2
    assert len(other_keys_server.received) == 1


def test_a_key_resolved_long_ago_is_not_known(other_keys_server):
    other_keys_server.knows(cacao_of(ALICE, KEY))
    resolve([(KEY.did, other_keys_server.url)])
    assert identity.known_identity(KEY.did)
    with clock.frozen(clock.now() + timedelta(minutes=11)):
        assert identity.known_identity(KEY.did) is None


def test_old_answers_are_pruned(other_keys_server):
    other_keys_server.knows(cacao_of(ALICE, KEY))
    resolve([(KEY.did, other_keys_server.url)])
    identity.prune(clock.now() + timedelta(days=2))
    assert not KnownIdentity.objects.exists()
