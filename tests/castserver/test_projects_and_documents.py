"""Projects and their documents, as wallets of every generation read them."""

from __future__ import annotations

import base64
import json
from io import StringIO

import pytest
from django.core.management import call_command
from django.test import Client

from castserver.models import Project, ProjectSecret, ServerKeys
from castserver.services.errors import Invalid, Missing, Taken
from castserver.services.notifications.notify import notify
from castserver.services.projects.demo import seed_demo
from castserver.services.projects.projects import (
    TypeDraft,
    create_project,
    describe,
    find_secret,
    set_types,
    set_url,
)
from keychain import services as keychain
from messaging.models import TopicSubscription
from walletconnect.crypto.keys import topic_of
from walletconnect.identity.did import DidWebDocument, public_key_of
from walletconnect.notify.config import NotifyConfig
from walletconnect.notify.values import NotifyMessage


def test_a_project_has_keys_and_a_topic_subscription(project):
    [pair] = keychain.key_pairs(
        keychain.Holder.CAST, [project.subscribe_topic]
    ).values()
    assert pair.public_key.hex() == project.public_key_x
    assert topic_of(pair.public_key) == project.subscribe_topic
    assert keychain.signing_key(keychain.Holder.CAST, project.authentication_did)
    assert TopicSubscription.objects.filter(
        party="cast", topic=project.subscribe_topic, state="wanted"
    ).exists()


def test_a_secret_is_kept_as_a_digest_only(project, secret):
    row = ProjectSecret.objects.get()
    assert secret not in {row.digest, row.prefix}
    assert find_secret(secret).project == project
    assert find_secret(secret, project_id=project.pk).project == project
    for wrong in ("", secret[:-1], secret.upper(), "x" * 1000):
        with pytest.raises(Missing):
            find_secret(wrong)
    with pytest.raises(Missing):
        find_secret(secret, project_id="0" * 32)


def test_without_an_address_the_dapp_is_hosted_here(settings):
    project, _ = create_project("Acme & Söhne")
    assert project.is_hosted
    assert project.url == f"{settings.PUBLIC_URL}/dapps/acme-sohne"
    second, _ = create_project("Acme & Söhne")
    assert second.slug == "acme-sohne-2"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "dapp",
        "ftp://x.org",
        "https://",
        "https://a b",
        "https://u:p@a.example",
        "https://a.example:99999",
        f"https://a.example/{'x' * 512}",
    ],
)
def test_an_address_must_be_one(url):
    before = Project.objects.count()
    with pytest.raises(Invalid):
        create_project("Dapp", url=url)
    assert Project.objects.count() == before


def test_an_address_belongs_to_one_dapp(project):
    with pytest.raises(Taken):
        create_project("Copy", url="HTTPS://dapp.example.org/")
    other, _ = create_project("Other", url="https://other.example.org")
    with pytest.raises(Taken):
        set_url(other, project.url)


@pytest.mark.parametrize(
    "types",
    [
        [TypeDraft("with space")],
        [TypeDraft("x" * 37)],
        [TypeDraft("")],
        [TypeDraft("twice"), TypeDraft("twice")],
        [TypeDraft("fine", "x" * 256)],
        [TypeDraft("fine", name="x" * 65)],
        [TypeDraft("fine", name="two\nlines")],
        [TypeDraft("fine", icon="x" * 256)],
        [TypeDraft(f"type{number}") for number in range(16)],
    ],
)
def test_types_must_be_sendable(project, types):
    with pytest.raises(Invalid):
        set_types(project, types)
    assert [each.type_id for each in project.types.all()] == [
        "alerts",
        "news",
        "gm_hourly",
    ]


def test_changed_types_show_in_the_document(project):
    before = project.last_modified
    set_types(project, [TypeDraft("news", "New text"), TypeDraft("extra")])
    project.refresh_from_db()
    assert project.last_modified > before
    config = read(f"/dapps/{project.slug}/.well-known/wc-notify-config.json")
    assert [each["name"] for each in config["types"]] == ["news", "extra"]
    assert config["lastModified"] == int(project.last_modified.timestamp())


UUID = "9a1f4b3e-6c2d-4f6a-8f0e-2b7f3b1c5d10"
FULL = TypeDraft(UUID, "Prices move", "Price alerts", "https://dapp.example.org/p.png")


def test_documents_carry_id_name_and_icon_apart(project):
    """``name`` is the id: clients of August 2023 put names into their scopes."""
    set_types(project, [FULL, TypeDraft("news", "What is new")])
    config = read(f"/dapps/{project.slug}/.well-known/wc-notify-config.json")
    sizes = dict.fromkeys(("sm", "md", "lg"), FULL.icon)
    assert config["types"] == [
        {
            "id": UUID,
            "name": UUID,
            "displayName": "Price alerts",
            "description": "Prices move",
            "imageUrls": sizes,
        },
        {
            "id": "news",
            "name": "news",
            "displayName": "news",
            "description": "What is new",
        },
    ]
    read_back = NotifyConfig.from_value(config).types
    assert [(each.scope_name, each.name) for each in read_back] == [
        (UUID, "Price alerts"),
        ("news", "news"),
    ]
    explorer = read("/cast/w3i/v1/notify-config?appDomain=dapp.example.org")["data"]
    assert explorer["notificationTypes"][0] == {
        "id": UUID,
        "name": "Price alerts",
        "description": "Prices move",
        "imageUrls": sizes,
    }


def test_a_type_without_an_icon_has_the_dapps(project):
    describe(project, name="Dapp", icon="https://dapp.example.org/icon.png")
    explorer = read("/cast/w3i/v1/notify-config?appDomain=dapp.example.org")["data"]
    assert {each["imageUrls"]["md"] for each in explorer["notificationTypes"]} == {
        "https://dapp.example.org/icon.png"
    }


@pytest.mark.parametrize(
    ("line", "draft"),
    [
        ("alerts", TypeDraft("alerts")),
        ("alerts: Urgent: read | now", TypeDraft("alerts", "Urgent: read | now")),
        (f"{UUID} | Price alerts", TypeDraft(UUID, name="Price alerts")),
        (
            f"{UUID}|A|B: C|https://x.example/i.png",
            TypeDraft(UUID, "B: C", "A", "https://x.example/i.png"),
        ),
        (str(FULL), FULL),
        (str(TypeDraft("a", "b")), TypeDraft("a", "b")),
    ],
)
def test_a_type_is_written_in_a_line(line, draft):
    assert TypeDraft.parse(line) == draft


def test_types_over_rest(project, api):
    offered = api.get("notification-types").json()
    assert [each["id"] for each in offered] == ["alerts", "news", "gm_hourly"]
    assert offered[0] == {
        "id": "alerts",
        "name": "alerts",
        "description": "Urgent",
        "icon": "",
    }
    wanted = [
        {"id": UUID, "name": "Price alerts", "icon": FULL.icon, "description": "x"},
        {"id": "news"},
    ]
    answer = api.put("notification-types", wanted)
    assert answer.status_code == 200
    assert answer.json() == api.get("notification-types").json()
    assert [each["name"] for each in answer.json()] == ["Price alerts", "news"]
    for bad in ([], [{"id": "a b"}], [{"name": "a"}], [{"id": "a", "icon": 7}]):
        assert api.put("notification-types", bad).status_code == 422
    twice = api.put("notification-types", [{"id": "a"}, {"id": "a"}])
    assert twice.status_code == 409
    assert len(api.get("notification-types").json()) == 2


def test_a_uuid_type_is_sent_and_subscribed_by_its_id(project, alice, api):
    set_types(project, [FULL])
    alice.subscribe(project)
    outcome = notify(
        project,
        NotifyMessage(type=UUID, title="Hello", body="World"),
        [str(alice.account)],
    )
    assert outcome.sent == (str(alice.account),)
    v1 = type(api)(project, api.secret, prefix=f"/cast/v1/{project.pk}")
    answer = v1.post("subscribers", {"accounts": [str(alice.account)]}).json()
    assert answer[str(alice.account)]["notification_types"] == [UUID]


# --- documents ------------------------------------------------------------------------


def read(path):
    answer = Client().get(path)
    assert answer.status_code == 200, answer.content
    assert answer["Content-Type"] == "application/json"
    assert answer["Access-Control-Allow-Origin"] == "*"
    assert "max-age" in answer["Cache-Control"]
    return answer.json()


def test_did_json_is_read_by_position_and_by_reference(project):
    document = read(f"/dapps/{project.slug}/.well-known/did.json")
    first, second = document["verificationMethod"]
    assert first["publicKeyJwk"]["crv"] == "X25519"
    assert second["publicKeyJwk"]["crv"] == "Ed25519"
    assert document["keyAgreement"] == [first["id"]]
    assert document["authentication"] == [second["id"]]
    assert decoded(first).hex() == project.public_key_x
    assert decoded(second) == public_key_of(project.authentication_did)
    assert document["id"] == "did:web:dapp.example.org"
    assert {first["controller"], second["controller"]} == {document["id"]}
    parsed = DidWebDocument.from_value(document)
    assert parsed.authentication_did == project.authentication_did


def decoded(method):
    text = method["publicKeyJwk"]["x"]
    assert "=" not in text
    return base64.urlsafe_b64decode(text + "=")


def test_the_type_list_serves_both_generations(project):
    config = read(f"/dapps/{project.slug}/.well-known/wc-notify-config.json")
    assert config["version"] == config["schemaVersion"] == 1
    assert config["name"] == project.name
    assert config["types"][0] == {
        "id": "alerts",
        "name": "alerts",
        "displayName": "alerts",
        "description": "Urgent",
    }


def test_an_unchanged_document_is_not_sent_again(project):
    path = f"/dapps/{project.slug}/.well-known/did.json"
    etag = Client().get(path)["ETag"]
    answer = Client().get(path, headers={"If-None-Match": etag})
    assert (answer.status_code, answer.content) == (304, b"")


def test_an_unknown_dapp_is_absent():
    assert Client().get("/dapps/nobody/.well-known/did.json").status_code == 404


def test_the_cast_server_has_a_document_of_its_own(settings):
    document = read("/.well-known/did.json")
    assert read("/cast/.well-known/did.json") == document
    parsed = DidWebDocument.from_value(document)
    row = ServerKeys.objects.get()
    assert parsed.key_agreement.hex() == row.public_key
    assert parsed.authentication_did == row.authentication_did
    assert document["id"] == "did:web:localhost:8000"
    assert TopicSubscription.objects.filter(
        party="cast", topic=row.watch_topic, state="wanted"
    ).exists()
    assert keychain.key_pairs(keychain.Holder.CAST, [row.watch_topic])


def test_the_explorer_finds_the_app_by_its_domain(project):
    path = "/cast/w3i/v1/notify-config"
    value = read(f"{path}?projectId=x&appDomain=dapp.example.org")["data"]
    assert value["id"] == project.pk
    assert [each["id"] for each in value["notificationTypes"]] == [
        "alerts",
        "news",
        "gm_hourly",
    ]
    for domain in ("", "nobody.example.org", "%00"):
        assert Client().get(f"{path}?appDomain={domain}").status_code == 404


# --- demo and commands ----------------------------------------------------------------


def test_the_demo_dapp_is_made_once(settings):
    settings.DEMO = True
    first = seed_demo()
    second = seed_demo()
    assert first.pk == second.pk
    assert Project.objects.filter(is_demo=True).count() == 1
    assert (first.name, first.types.count()) == ("Acme DAO", 3)
    assert first.is_hosted
    assert not first.secrets.exists()
    settings.PUBLIC_URL = "http://localhost:8123"
    assert seed_demo().url == "http://localhost:8123/dapps/acme-dao"


def test_no_demo_where_it_is_switched_off(settings):
    settings.DEMO = False
    with pytest.raises(Invalid):
        seed_demo()


def run(*arguments):
    out = StringIO()
    call_command(*arguments, stdout=out)
    return json.loads(out.getvalue())


def test_create_project_prints_what_a_script_needs():
    printed = run(
        "create_project",
        "My Dapp",
        "--url",
        "https://my.example.org",
        "--type",
        "alerts:Urgent: read it",
        "--type",
        "news",
        "--json",
    )
    project = Project.objects.get(pk=printed["project_id"])
    assert find_secret(printed["project_secret"]).project == project
    assert printed["subscribe_key"] == project.public_key_x
    assert (
        printed["authentication_key"] == public_key_of(project.authentication_did).hex()
    )
    assert printed["slug"] == "my-dapp"
    assert [(each.name, each.description) for each in project.types.all()] == [
        ("alerts", "Urgent: read it"),
        ("news", ""),
    ]


def test_notify_sends_from_the_command_line(project, alice):
    alice.subscribe(project)
    printed = run(
        "notify",
        project.pk,
        "--account",
        str(alice.account),
        "--type",
        "alerts",
        "--title",
        "Hello",
        "--body",
        "World",
        "--json",
    )
    assert printed["sent"] == [str(alice.account)]
    assert printed["notFound"] == printed["not_found"] == printed["failed"] == []
