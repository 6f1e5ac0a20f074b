"""Replacing a dapp's keys: wallets with the old did.json and with the new one are served."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from castserver.models import AddressCheck, Project, ProjectKeys, Subscriber
from castserver.services.errors import Missing, Taken, TooMany
from castserver.services.notifications.notify import notify
from castserver.services.projects.address_proof import prove_addresses
from castserver.services.projects.closing import close_project
from castserver.services.projects.documents import did_document, did_document_to_publish
from castserver.services.projects.projects import TypeDraft, create_project, set_hosted
from castserver.services.projects.rotation import (
    begin_rotation,
    cancel_rotation,
    drop_expired_keys,
    end_overlap,
    use_keys_if_hosted,
)
from common import clock
from keychain import services as keychain
from keychain.services import Holder
from messaging.models import TopicSubscription
from tests.castserver.receiver import Receiver
from tests.castserver.world import claims_of, deliver, open_last, sent
from walletconnect.identity.did import DidWebDocument
from walletconnect.notify.handover import read_handover
from walletconnect.notify.values import NotifyMessage
from walletconnect.relay.rpc import parse

pytestmark = pytest.mark.django_db(transaction=True)
DID_JSON = "/.well-known/did.json"


TYPES = [TypeDraft(each, each) for each in ("alerts", "news", "gm_hourly")]


@pytest.fixture
def project():
    return create_project("Hosted", types=TYPES)[0]


def keys_of(project) -> tuple[str, str, str]:
    return (
        project.subscribe_topic,
        project.public_key_x,
        project.authentication_did,
    )


def signer_of_last(subscription) -> str:
    """Who signed the newest notification on the topic."""
    request = parse(open_last(subscription.sym_key, 4002))
    return claims_of(request.params["messageAuth"])["iss"]


def send(project, alice) -> None:
    outcome = notify(
        project,
        NotifyMessage(type="alerts", title="Hello", body="World"),
        [str(alice.account)],
    )
    assert outcome.sent == (str(alice.account),)


def test_subscribers_of_before_and_after_receive(project, alice, bob):
    before = alice.subscribe(project)
    old = Project.objects.get(pk=project.pk)
    begin_rotation(project)
    project.refresh_from_db()
    assert not set(keys_of(project)) & set(keys_of(old))
    assert Subscriber.objects.get().topic == before.topic
    send(project, alice)
    assert signer_of_last(before) == project.authentication_did
    after = bob.subscribe(project)
    send(project, bob)
    assert signer_of_last(after) == project.authentication_did


def test_a_wallet_with_the_old_did_json_subscribes_updates_and_leaves(project, alice):
    old = Project.objects.get(pk=project.pk)
    begin_rotation(project)
    # ``old`` is what its did.json contains: X and the authentication key of before.
    subscription = alice.subscribe(old)
    answer = alice.update(old, subscription, ["news"])
    assert Subscriber.objects.get().scope == ["news"]
    request = parse(open_last(subscription.sym_key, 4009))
    claims = claims_of(request.result["responseAuth"])
    # Signed with the key that the wallet knows.
    assert claims["iss"] == old.authentication_did
    assert answer.publish.topic == subscription.topic
    project.refresh_from_db()
    alice.update(project, subscription, ["alerts"])
    claims = claims_of(
        parse(open_last(subscription.sym_key, 4009)).result["responseAuth"]
    )
    assert claims["iss"] == project.authentication_did
    alice.delete(old, subscription)
    assert not Subscriber.objects.live(clock.now()).exists()


def test_did_json_lists_the_old_keys_behind_with_their_handover(project):
    old = keys_of(project)
    begin_rotation(project)
    project.refresh_from_db()
    value = did_document(project)
    parsed = DidWebDocument.from_value(value)
    assert parsed.authentication_did == project.authentication_did
    methods = value["verificationMethod"]
    assert [each["publicKeyJwk"]["crv"] for each in methods] == [
        "X25519",
        "Ed25519",
    ] * 2
    handover = read_handover(parsed.handovers[0], now=clock.now_s())
    assert handover.previous == old[2]
    assert (handover.key_agreement, handover.authentication) == keys_of(project)[1:]


def test_every_key_of_a_chain_hands_over_to_the_newest(project, settings):
    dids = []
    for _ in range(3):
        dids.append(project.authentication_did)
        begin_rotation(project)
        project.refresh_from_db()
    tokens = DidWebDocument.from_value(did_document(project)).handovers
    found = [read_handover(each, now=clock.now_s()) for each in tokens]
    assert {each.previous for each in found} == set(dids)
    assert {each.authentication for each in found} == {project.authentication_did}
    with pytest.raises(TooMany, match="3 previous"):
        begin_rotation(project)


def test_previous_keys_end_after_their_time_or_at_once(project, alice):
    old = Project.objects.get(pk=project.pk)
    begin_rotation(project)
    assert drop_expired_keys() == 0
    ProjectKeys.objects.update(valid_until=clock.now() - timedelta(seconds=1))
    assert drop_expired_keys() == 1
    made, _ = alice.request(old)
    deliver(made.publish)
    assert not sent(made.response_topic)
    begin_rotation(project)
    end_overlap(project)
    project.refresh_from_db()
    assert "keyHandovers" not in did_document(project)
    with pytest.raises(Missing):
        end_overlap(project)
    wanted = TopicSubscription.objects.filter(party="cast", state="wanted")
    assert [each.topic for each in wanted] == [project.subscribe_topic]


@pytest.fixture
def site(settings):
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def elsewhere(site):
    """A dapp whose own domain serves its did.json."""
    project, _ = create_project("Elsewhere", url=site.origin, types=TYPES)
    publish(site, project)
    check_again()
    project.refresh_from_db()
    assert project.url_proven_at
    return project


def publish(site, project) -> None:
    site.files = {DID_JSON: json.dumps(did_document_to_publish(project)).encode()}


def check_again() -> None:
    Project.objects.update(url_checked_at=None)
    prove_addresses()


def test_a_domain_publishes_new_keys_before_they_are_used(site, elsewhere, alice):
    before = alice.subscribe(elsewhere)
    old = keys_of(elsewhere)
    made = begin_rotation(elsewhere)
    with pytest.raises(Taken):
        begin_rotation(elsewhere)
    check_again()
    elsewhere.refresh_from_db()
    assert keys_of(elsewhere) == old
    assert elsewhere.url_proven_at
    # The old file is no difference while the owner has to publish the new one.
    assert not AddressCheck.objects.get().differences
    send(elsewhere, alice)
    assert signer_of_last(before) == old[2]

    publish(site, elsewhere)
    check_again()
    elsewhere.refresh_from_db()
    assert keys_of(elsewhere) == keys_of(made)
    assert elsewhere.url_proven_at
    send(elsewhere, alice)
    assert signer_of_last(before) == made.authentication_did
    handed = DidWebDocument.from_value(did_document(elsewhere)).handovers
    # What the domain serves is what the console shows from then on.
    assert json.loads(site.files[DID_JSON])["keyHandovers"] == list(handed)
    assert not AddressCheck.objects.get().differences


def test_a_first_subscriber_with_the_new_keys_has_the_domain_checked(
    site, elsewhere, alice
):
    made = begin_rotation(elsewhere)
    publish(site, elsewhere)
    Project.objects.update(url_checked_at=clock.now())
    AddressCheck.objects.update(asked_at=None)
    new = Project.objects.get(pk=elsewhere.pk)
    for name in ("subscribe_topic", "public_key_x", "authentication_did"):
        setattr(new, name, getattr(made, name))
    alice.subscribe(new)
    assert Project.objects.get(pk=elsewhere.pk).url_checked_at is None
    prove_addresses()
    elsewhere.refresh_from_db()
    assert elsewhere.authentication_did == made.authentication_did


def test_keys_that_are_given_up_hand_back_to_those_in_use(site, elsewhere, bob):
    """The domain may have published them since it was checked last."""
    old = keys_of(elsewhere)
    made = begin_rotation(elsewhere)
    cancel_rotation(elsewhere)
    elsewhere.refresh_from_db()
    assert keys_of(elsewhere) == old
    with pytest.raises(Missing):
        cancel_rotation(elsewhere)
    # A wallet that read the new file meanwhile is served.
    given_up = Project(
        pk=elsewhere.pk,
        url=elsewhere.url,
        subscribe_topic=made.subscribe_topic,
        public_key_x=made.public_key_x,
        authentication_did=made.authentication_did,
    )
    bob.subscribe(given_up)
    # The file of before is no difference: it has the keys in use.
    check_again()
    assert not AddressCheck.objects.get().differences
    publish(site, elsewhere)
    check_again()
    assert not AddressCheck.objects.get().differences
    document = DidWebDocument.from_value(json.loads(site.files[DID_JSON]))
    assert document.authentication_did == old[2]
    (token,) = document.handovers
    handed = read_handover(token, now=clock.now_s())
    assert (handed.previous, handed.authentication, handed.key_agreement) == (
        made.authentication_did,
        old[2],
        old[1],
    )
    end_overlap(elsewhere)
    assert not keychain.signing_keys(Holder.CAST, [made.authentication_did])


def test_hosting_the_dapp_here_needs_no_publication(site, elsewhere):
    made = begin_rotation(elsewhere)
    set_hosted(elsewhere)
    use_keys_if_hosted(elsewhere)
    elsewhere.refresh_from_db()
    assert elsewhere.authentication_did == made.authentication_did


def test_closing_forgets_all_keys(project):
    dids = [project.authentication_did]
    begin_rotation(project)
    project.refresh_from_db()
    dids.append(project.authentication_did)
    close_project(project)
    assert not keychain.signing_keys(Holder.CAST, dids)
    wanted = TopicSubscription.objects.filter(party="cast", state="wanted")
    assert not wanted.exists()


def test_how_long_previous_keys_are_accepted_is_a_limit(project, settings):
    settings.LIMITS = replace(settings.LIMITS, rotated_keys_days=7)
    begin_rotation(project)
    left = ProjectKeys.objects.get().valid_until - clock.now()
    assert timedelta(days=6, hours=23) < left <= timedelta(days=7)
