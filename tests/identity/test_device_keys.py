"""Identity keys of our devices: which one signs, registered and retired until it is done."""

from __future__ import annotations

from datetime import timedelta

import pytest

from accounts import services as accounts
from accounts.models import AuditEntry
from common import clock
from identity import services as identity
from identity.models import IdentityKey, IdentityRegistration, IdentityUnregistration
from identity.services import NoIdentityKey
from identity.services.upkeep import BACKOFF, _claim_keys
from keychain.models import SigningKeyEntry
from tests.identity.conftest import cacao_of, identity_key
from tests.people import ALICE, ALICE_SECOND, BOB, link, sign_in
from walletconnect.identity.jwt import DidJwt, Times

pytestmark = pytest.mark.django_db

SUCCESS = {"status": "SUCCESS", "error": None, "value": None}


# --- which key signs ------------------------------------------------------------------


def test_each_device_signs_with_its_own_key():
    first, second = sign_in(ALICE), sign_in(ALICE)
    account = ALICE.row()
    dids = [identity.signing_identity(account, device=d).did for d in (first, second)]
    assert len(set(dids)) == 2
    assert dids == [d.identity_keys.get().did for d in (first, second)]


def test_without_a_device_the_newest_signs():
    sign_in(ALICE)
    newest = sign_in(ALICE)
    signing = identity.signing_identity(ALICE.row())
    assert signing.did == newest.identity_keys.get().did


def test_an_account_added_on_another_device_signs_with_that_ones_key():
    first, second = sign_in(ALICE), sign_in(ALICE)
    account = link(ALICE_SECOND, first)
    expected = first.identity_keys.get(account=account).did
    assert identity.signing_identity(account, device=second).did == expected


def test_without_devices_an_account_has_no_signing_identity():
    device = sign_in(ALICE)
    accounts.revoke_device(device, by=None)
    with pytest.raises(NoIdentityKey) as error:
        identity.signing_identity(ALICE.row(), device=device)
    assert not error.value.pending


def test_many_accounts_take_two_queries(django_assert_num_queries):
    sign_in(ALICE)
    sign_in(BOB)
    ids = [ALICE.row().pk, BOB.row().pk, 10**9]
    with django_assert_num_queries(2):
        found = identity.signing_identities(ids)
    assert set(found) == set(ids[:2])
    assert found[ids[0]].did == identity.signing_identity(ALICE.row()).did


# --- our own Keys Server --------------------------------------------------------------


def test_revoking_a_device_unregisters_its_key_at_once_and_forgets_it(client):
    first, second = sign_in(ALICE), sign_in(ALICE)
    key = second.identity_keys.get()
    bare = key.did.removeprefix("did:key:")
    assert client.get("/identity", {"publicKey": bare}).status_code == 200
    accounts.revoke_device(second, by=first)
    assert client.get("/identity", {"publicKey": bare}).status_code == 404
    assert not SigningKeyEntry.objects.filter(did=key.did).exists()
    assert identity.known_identity(key.did) is None
    other = first.identity_keys.get()
    assert identity.known_identity(other.did) is not None
    assert AuditEntry.objects.filter(action="identity-key.unregistered").exists()


# --- another Keys Server --------------------------------------------------------------


def test_a_key_is_registered_at_the_other_server_as_it_was_signed(registered_elsewhere):
    registered_elsewhere.answers = [(200, SUCCESS)]
    device = sign_in(ALICE)
    key = device.identity_keys.get()
    with pytest.raises(NoIdentityKey) as error:
        identity.signing_identity(ALICE.row(), device=device)
    assert error.value.pending
    identity.register_due_keys()
    assert identity.signing_identity(ALICE.row(), device=device).did == key.did
    ((method, path, body),) = registered_elsewhere.received
    assert (method, path) == ("POST", "/identity")
    assert body["cacao"]["p"]["resources"] == [key.did]
    assert body["cacao"]["p"]["aud"] == registered_elsewhere.url
    assert not IdentityRegistration.objects.exists()


def test_registering_twice_calls_once(registered_elsewhere):
    registered_elsewhere.answers = [(200, SUCCESS)]
    sign_in(ALICE)
    assert identity.register_due_keys() == 1
    assert identity.register_due_keys() == 0
    assert len(registered_elsewhere.received) == 1


@pytest.mark.parametrize("status", [500, 503, 429, 302, 201])
def test_a_failing_server_is_tried_again_later(registered_elsewhere, status):
    registered_elsewhere.answers = [(status, {}), (200, SUCCESS)]
    key = sign_in(ALICE).identity_keys.get()
    identity.register_due_keys()
    key.refresh_from_db()
    assert key.registered_at is None
    assert key.reason == f"answer {status}"
    assert key.next_attempt_at > clock.now()
    # Not before it is due.
    identity.register_due_keys()
    assert len(registered_elsewhere.received) == 1
    with clock.frozen(key.next_attempt_at):
        identity.register_due_keys()
    key.refresh_from_db()
    assert key.registered_at is not None
    assert key.reason == ""


def test_an_unreachable_server_is_tried_again_later(settings):
    settings.KEYS_SERVER_URL = "http://localhost:1"
    settings.KEYS_SERVER_IS_OURS = False
    key = sign_in(ALICE).identity_keys.get()
    identity.register_due_keys()
    key.refresh_from_db()
    assert key.attempts == 1
    assert key.next_attempt_at > clock.now()


def test_a_refusal_is_final_and_its_reason_is_stored(
    registered_elsewhere,
):
    registered_elsewhere.answers = [(400, {"error": {"message": "their own text"}})]
    key = sign_in(ALICE).identity_keys.get()
    identity.register_due_keys()
    key.refresh_from_db()
    assert (key.registered_at, key.next_attempt_at) == (None, None)
    assert key.reason == "answer 400"


def test_trying_ends(registered_elsewhere):
    registered_elsewhere.answers = [(500, {})]
    key = sign_in(ALICE).identity_keys.get()
    IdentityKey.objects.update(attempts=BACKOFF.max_attempts - 1)
    identity.register_due_keys()
    key.refresh_from_db()
    assert key.next_attempt_at is None
    assert key.reason


def test_waits_grow_and_stay_within_an_hour():
    waits = [BACKOFF.delay(attempts).total_seconds() for attempts in (1, 4, 8, 60)]
    assert waits == sorted(waits)
    assert 4 <= waits[0] <= 6
    assert waits[-1] <= 3600 * 1.2


def test_a_killed_worker_leaves_its_key_to_the_next_at_once(registered_elsewhere):
    registered_elsewhere.answers = [(200, SUCCESS)]
    sign_in(ALICE)
    [claimed] = _claim_keys(10)
    assert identity.register_due_keys() == 0
    IdentityKey.objects.filter(pk=claimed.pk).update(leased_by=2**31 - 1)
    assert identity.register_due_keys() == 1
    assert IdentityKey.objects.get().registered_at is not None


def test_a_retired_key_is_unregistered_with_the_token_it_left(registered_elsewhere):
    registered_elsewhere.answers = [(200, SUCCESS)]
    device = sign_in(ALICE)
    key = device.identity_keys.get()
    identity.register_due_keys()
    accounts.revoke_device(device, by=None)
    assert not SigningKeyEntry.objects.filter(did=key.did).exists()
    job = IdentityUnregistration.objects.get()
    identity.unregister_due_keys()
    method, path, body = registered_elsewhere.received[-1]
    assert (method, path) == ("DELETE", "/identity")
    token = DidJwt.parse(body["idAuth"]).verify(
        now=clock.now_s(),
        act="unregister_identity",
        max_life=30 * 86400,
        iss=key.did,
        aud=registered_elsewhere.url,
        times=Times.EITHER,
    )
    assert token.claims["pkh"] == f"did:pkh:{ALICE.account}"
    assert token.claims["iat"] > 10**12
    job.refresh_from_db()
    assert job.done_at is not None
    assert job.id_auth == ""
    identity.unregister_due_keys()
    assert len(registered_elsewhere.received) == 2


@pytest.mark.parametrize(("status", "done"), [(200, True), (404, True), (500, False)])
def test_gone_already_is_unregistered_too(registered_elsewhere, status, done):
    device = sign_in(ALICE)
    accounts.revoke_device(device, by=None)
    registered_elsewhere.answers = [(status, {})]
    job = IdentityUnregistration.objects.get()
    identity.unregister_due_keys()
    job.refresh_from_db()
    assert (job.done_at is not None) is done


def test_a_retired_key_is_not_registered_any_more(registered_elsewhere):
    device = sign_in(ALICE)
    accounts.revoke_device(device, by=None)
    identity.register_due_keys()
    assert registered_elsewhere.received == []


def test_unregistering_waits_for_a_registration_that_is_under_way(registered_elsewhere):
    device = sign_in(ALICE)
    IdentityKey.objects.update(attempts=1)
    accounts.revoke_device(device, by=None)
    identity.unregister_due_keys()
    assert registered_elsewhere.received == []
    with clock.frozen(clock.now() + timedelta(seconds=61)):
        identity.unregister_due_keys()
    assert len(registered_elsewhere.received) == 1


def test_the_job_outlives_the_account(registered_elsewhere):
    device = sign_in(ALICE)
    accounts.remove_account(ALICE.row(), by=device)
    registered_elsewhere.answers = [(200, SUCCESS)]
    identity.unregister_due_keys()
    assert len(registered_elsewhere.received) == 1
    assert not IdentityKey.objects.exists()


def test_removing_an_account_leaves_others_registrations_alone(client):
    device = sign_in(ALICE)
    elsewhere = cacao_of(ALICE, identity_key(5))
    client.post(
        "/identity",
        {"cacao": elsewhere.to_value()},
        content_type="application/json",
    )
    accounts.remove_account(ALICE.row(), by=device)
    # Another wallet of hers registered that one by itself; it is not ours to remove.
    assert identity.known_identity(identity_key(5).did) is not None
