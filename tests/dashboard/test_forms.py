"""Forms: submissions take effect once; destructive actions are explained and confirmed."""

from __future__ import annotations

import re
import threading
from datetime import timedelta

import pytest
from django.db import connection, connections

from accounts.models import Account, Device
from castserver.models import Project, Webhook, WebhookDelivery
from castserver.services.projects.projects import TypeDraft, create_project
from common import clock
from dashboard.models import FormSubmission
from dashboard.submissions import prune_submissions
from keychain.services import DecryptionFailed, open_sealed
from tests.dashboard.conftest import Browser, text_of
from tests.people import ALICE, ALICE_SECOND, BOB, CHROME_WINDOWS

ONCE = re.compile(r'name="once" value="([^"]+)"')
SECRET = re.compile(r'id="project-secret" tabindex="0">([^<]+)</pre>')
NEW = "/console/project/new"
LUMEN = {"name": "Lumen", "types": "news: News"}
LATER = timedelta(minutes=11)


def token_of(page) -> str:
    return ONCE.findall(page.text)[0]


@pytest.fixture
def lumen(alice) -> Project:
    types = [TypeDraft("news", "News")]
    return create_project("Lumen", types=types, owner=alice.user)[0]


# --- once -----------------------------------------------------------------------------


def test_a_second_click_creates_no_second_project(alice):
    once = token_of(alice.get(NEW))
    answers = [alice.post(NEW, once=once, **LUMEN) for _ in range(3)]
    assert {answer.status_code for answer in answers} == {302}
    assert len({answer.headers["Location"] for answer in answers}) == 1
    assert Project.objects.count() == 1


def test_two_open_tabs_with_the_same_content_create_one_project(alice):
    first, second = token_of(alice.get(NEW)), token_of(alice.get(NEW))
    alice.post(NEW, once=first, **LUMEN)
    alice.post(NEW, once=second, **LUMEN)
    assert Project.objects.count() == 1


def test_other_content_or_a_form_opened_later_creates_another(alice):
    once = token_of(alice.get(NEW))
    alice.post(NEW, once=once, **LUMEN)
    alice.post(NEW, once=once, **(LUMEN | {"name": "Second"}))
    alice.post(NEW, once=token_of(alice.get(NEW)), **LUMEN)
    assert sorted(Project.objects.values_list("slug", flat=True)) == [
        "lumen",
        "lumen-2",
        "second",
    ]


def test_a_form_without_a_token_works(alice):
    alice.get(NEW)
    alice.post(NEW, **LUMEN)
    alice.post(NEW, **LUMEN)
    assert Project.objects.count() == 2


def test_a_refused_form_can_be_sent_again_with_its_token(alice, lumen):
    once = token_of(alice.get(NEW))
    taken = LUMEN | {"url": lumen.url}
    assert alice.post(NEW, once=once, **taken).status_code == 422
    assert not FormSubmission.objects.exists()
    assert alice.post(NEW, once=once, **LUMEN).status_code == 302


@pytest.mark.django_db(transaction=True)
def test_two_submissions_at_the_same_time_create_one_project(redis_client):
    """The second waits for the first on the unique index, in real transactions."""
    browser = Browser().sign_in(ALICE)
    once = token_of(browser.get(NEW))
    token, cookies = browser.token, browser.client.cookies
    barrier = threading.Barrier(2)
    places = []

    def submit() -> None:
        other = Browser()
        other.client.cookies, other.token = cookies.copy(), token
        barrier.wait()
        places.append(other.post(NEW, once=once, **LUMEN).headers["Location"])
        connections.close_all()

    threads = [threading.Thread(target=submit) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(places) == 2
    assert len(set(places)) == 1
    assert Project.objects.count() == 1


def test_a_secret_a_webhook_and_a_test_event_are_made_once(alice, lumen):
    keys, hooks = "/console/lumen/keys", "/console/lumen/webhooks"
    once = token_of(alice.get(keys))
    for _ in range(2):
        alice.post(f"{keys}/secrets", once=once)
    assert lumen.secrets.count() == 2  # with the first of the project
    once = re.findall(ONCE, alice.get(hooks).text)[-1]
    entered = {"url": "http://localhost:9/hook", "events": ["subscribed"]}
    for _ in range(2):
        alice.post(hooks, once=once, **entered)
    webhook = Webhook.objects.get()
    once = token_of(alice.get(hooks))
    for _ in range(2):
        alice.post(f"{hooks}/{webhook.pk}", act="test", once=once)
    assert WebhookDelivery.objects.count() == 1
    alice.post(f"{hooks}/{webhook.pk}", act="test", once=token_of(alice.get(hooks)))
    assert WebhookDelivery.objects.count() == 2


def test_a_notification_sent_from_two_tabs_goes_out_once(alice, lumen):
    path = "/console/lumen/send"
    first, second = token_of(alice.get(path)), token_of(alice.get(path))
    fields = {"type": "news", "title": "A", "body": "B", "audience": "me"}
    one = alice.post(path, once=first, **fields)
    two = alice.post(path, once=second, **fields)
    assert one.headers["Location"] == two.headers["Location"]
    other = alice.post(path, once=second, **(fields | {"title": "Other"}))
    assert "Other" in text_of(alice.follow(other))
    alice.post(path, once=token_of(alice.get(path)), **fields)
    assert lumen.notifications.count() == 3


# --- the secret behind the redirect -----------------------------------------------------


@pytest.fixture
def shown(alice) -> str:
    """The page after creating a project."""
    once = token_of(alice.get(NEW))
    return alice.post(NEW, once=once, **LUMEN).headers["Location"]


def test_a_reload_shows_the_secret_again_for_ten_minutes(alice, shown):
    (secret,) = SECRET.findall(alice.get(shown).text)
    assert SECRET.findall(alice.get(shown).text) == [secret]
    with clock.frozen(clock.now() + LATER):
        page = alice.get(shown)
    assert secret not in page.text
    assert "cannot be shown again" in text_of(page)


def test_the_secret_is_shown_in_the_browser_that_made_it_only(alice, charlie, shown):
    first, second = alice.browsers
    (secret,) = SECRET.findall(first.get(shown).text)
    assert secret not in second.get(shown).text
    assert charlie.get(shown).status_code == 404
    assert "no-store" in first.get(shown).headers["Cache-Control"]


def test_a_stored_secret_can_be_dismissed(alice, charlie, shown):
    (secret,) = SECRET.findall(alice.get(shown).text)
    row = FormSubmission.objects.get()
    charlie.get("/settings")
    assert charlie.post(f"/console/stored/{row.pk}").status_code == 404
    answer = alice.post(f"/console/stored/{row.pk}")
    assert answer.headers["Location"] == "/console/lumen/keys"
    assert secret not in alice.get(shown).text


def test_the_secret_is_sealed_for_its_row_and_cleared_by_the_clock(alice, shown):
    (secret,) = SECRET.findall(alice.get(shown).text)
    row = FormSubmission.objects.get()
    assert secret.encode() not in bytes(row.sealed_secret)
    assert secret not in shown
    with connection.cursor() as cursor:
        cursor.execute("SELECT string_agg(kept::text, ' ') FROM django_session kept")
        assert secret not in cursor.fetchone()[0]
    elsewhere = (*row.context[:2], "another row", row.context[3])
    with pytest.raises(DecryptionFailed):
        open_sealed(elsewhere, row.sealed_secret)
    assert prune_submissions() == 0
    with clock.frozen(clock.now() + LATER):
        assert prune_submissions() == 1
    assert bytes(FormSubmission.objects.get().sealed_secret) == b""
    with clock.frozen(clock.now() + timedelta(days=2)):
        assert prune_submissions() == 1
    assert not FormSubmission.objects.exists()


@pytest.mark.parametrize("made", ["", "x", "0" * 32, "../../etc", "%00"])
def test_a_result_that_does_not_exist_shows_nothing(alice, lumen, made):
    page = alice.get(f"/console/lumen/keys?made={made}")
    assert page.status_code in (200, 400)
    assert not SECRET.findall(page.text)


# --- explained and confirmed ------------------------------------------------------------


@pytest.fixture
def webhook(alice, lumen) -> Webhook:
    alice.get("/console/lumen/webhooks")
    alice.post(
        "/console/lumen/webhooks", url="http://localhost:9/hook", events=["subscribed"]
    )
    return Webhook.objects.get()


def test_every_destructive_action_has_a_confirmation_page(alice, lumen, webhook):
    secret = lumen.secrets.first()
    other = alice.browsers[1].device
    pages = {
        f"/devices/{other.pk}/revoke": "cannot be recalled",
        "/devices/others/revoke": "Chrome · Windows",
        f"/settings/accounts/{alice.account.pk}/remove": "your only account",
        f"/console/lumen/keys/secrets/{secret.pk}/revoke": "It was never used",
        f"/console/lumen/webhooks/{webhook.pk}?act=delete": "http://localhost:9/hook",
        "/console/lumen/close": "0 subscribed accounts",
    }
    for path, message in pages.items():
        page = alice.get(path)
        assert page.status_code == 200, path
        assert message in text_of(page), path
        assert 'method="post"' in page.text
        assert "Cancel" in text_of(page)
    secret.refresh_from_db()
    other.refresh_from_db()
    assert secret.revoked_at is None
    assert other.revoked_at is None
    assert Webhook.objects.exists()
    assert Project.objects.exists()
    assert Account.objects.filter(pk=alice.account.pk).exists()


def test_the_buttons_lead_to_confirmation_pages(alice, lumen, webhook):
    """Forms with method GET work without JavaScript and change nothing."""
    buttons = {
        "/devices": [f"/devices/{alice.browsers[1].device.pk}/revoke"],
        "/settings": [f"/settings/accounts/{alice.account.pk}/remove"],
        "/console/lumen/keys": [
            f"/console/lumen/keys/secrets/{lumen.secrets.get().pk}/revoke"
        ],
        "/console/lumen/webhooks": [f"/console/lumen/webhooks/{webhook.pk}"],
        "/console/lumen/settings": ["/console/lumen/close"],
    }
    for path, targets in buttons.items():
        forms = re.findall(r"<form [^>]*>", alice.get(path).text)
        plain = [form for form in forms if 'method="post"' not in form]
        for target in targets:
            assert any(f'action="{target}"' in form for form in plain), target


def test_a_project_is_closed_after_the_box_is_ticked(alice, lumen):
    path = "/console/lumen/close"
    alice.get(path)
    page = alice.post(path)
    assert page.status_code == 422
    assert "Tick the box" in text_of(page)
    assert Project.objects.exists()
    page = alice.follow(alice.post(path, confirm="yes"))
    assert "Lumen was closed" in text_of(page)
    assert not Project.objects.exists()
    # A second press, or a reload of the form, finds nothing.
    assert alice.post(path, confirm="yes").status_code == 404


def test_unsubscribing_offers_to_subscribe_again_with_the_same_types(
    alice, dapp, subscription
):
    path = f"/subscriptions/{subscription.topic}"
    assert "every device drops the subscription" in text_of(alice.get(path))
    page = alice.follow(alice.post(f"{path}/delete"))
    (link,) = re.findall(r'<a [^>]*href="([^"]+)"[^>]*>Subscribe again', page.text)
    assert link.startswith("/discover/dapp?")
    assert "type=alerts" in link


# --- signed again -----------------------------------------------------------------------


def dangerous(lumen: Project, account: Account) -> list[tuple[str, str, dict]]:
    return [
        ("GET", "/sync/log.jsonl", {}),
        ("POST", f"/settings/accounts/{account.pk}/remove", {"confirm": "yes"}),
        ("POST", "/devices/others/revoke", {}),
        ("POST", "/console/lumen/keys/secrets", {}),
        (
            "POST",
            "/console/lumen/webhooks",
            {"url": "http://localhost:9/hook", "events": ["subscribed"]},
        ),
        ("POST", "/console/lumen/close", {"confirm": "yes"}),
        (
            "POST",
            "/signin/begin",
            {"signer": "elsewhere", "address": ALICE_SECOND.address},
        ),
    ]


def test_sensitive_actions_need_a_recent_signature(alice, lumen):
    alice.get("/settings")
    with clock.frozen(clock.now() + LATER):
        for method, path, fields in dangerous(lumen, alice.account):
            answer = alice.post(path, **fields) if method == "POST" else alice.get(path)
            place = answer.headers.get("Location", "")
            assert place.startswith("/signin/again?next="), path
        page = text_of(alice.get(place))
    assert "Sign again to go on" in page
    assert "needs a signature of the last ten minutes" in page
    assert lumen.secrets.count() == 1
    assert not lumen.webhooks.exists()
    assert Account.objects.filter(pk=alice.account.pk).exists()
    assert Device.objects.active().filter(user=alice.user).count() == 2


def sign_again(browser: Browser, place: str, wallet=ALICE):
    """As for a browser wallet, the demo wallet, or a pasted signature."""
    browser.get(place)
    target = place.partition("next=")[2].replace("%2F", "/")
    browser.follow(
        browser.post(
            "/signin/begin",
            address=wallet.address,
            signer="elsewhere",
            again="yes",
            next=target,
        )
    )
    return browser.post("/signin/prove", signature=browser.sign(wallet))


def test_after_signing_the_user_returns_and_confirms(alice, lumen):
    path = "/console/lumen/close"
    browser = alice.browser
    browser.get("/settings")
    with clock.frozen(clock.now() + LATER):
        place = browser.get(path).headers["Location"]
        answer = sign_again(browser, place)
        # Nothing was done by signing alone.
        assert answer.headers["Location"] == path
        assert Project.objects.exists()
        page = browser.get(path)
        assert page.status_code == 200
        assert "Signed. You can go on" in text_of(page)
        browser.post(path, confirm="yes")
    assert not Project.objects.exists()
    # It is the same device still, and sync was not asked for again.
    assert Device.objects.active().filter(user=alice.user).count() == 2


def test_what_was_typed_comes_back_after_signing(alice, lumen):
    alice.get("/console/lumen/webhooks")
    with clock.frozen(clock.now() + LATER):
        answer = alice.post(
            "/console/lumen/webhooks", url="http://localhost:9/x", events=["subscribed"]
        )
        place = answer.headers["Location"]
    assert "localhost%253A9%252Fx" in place
    page = alice.get("/console/lumen/webhooks?url=http://localhost:9/x")
    assert 'value="http://localhost:9/x"' in page.text


def test_another_users_signature_does_not_continue(alice, lumen):
    browser = alice.browser
    browser.get("/settings")
    with clock.frozen(clock.now() + LATER):
        place = browser.get("/console/lumen/close").headers["Location"]
        browser.get(place)
        page = browser.post(
            "/signin/begin", address=BOB.address, signer="elsewhere", again="yes"
        )
        assert page.status_code == 422
        assert "not an account of your inbox" in text_of(page)
        # Nor does a foreign account come in through the ordinary page, to sign later.
        answer = browser.post("/signin/begin", address=BOB.address, signer="elsewhere")
        assert answer.headers["Location"].startswith("/signin/again")


def test_adding_an_account_does_not_renew_the_proof(alice):
    """Otherwise an open session would suffice to add a foreign wallet."""
    browser = alice.browser
    started = browser.device.proved_at
    with clock.frozen(clock.now() + timedelta(minutes=9)):
        browser.follow(browser.begin(ALICE_SECOND.address))
        browser.post("/signin/prove", signature=browser.sign(ALICE_SECOND))
    assert Account.objects.filter(user=alice.user).count() == 2
    assert Browser(CHROME_WINDOWS)
    assert browser.device.proved_at == started


def test_the_page_with_the_secret_contains_one_project_id_and_one_secret(alice, shown):
    """Automation reads both from the page after the form."""
    alice.post("/console/lumen/keys/secrets")  # tokens of forms look like no id either
    page = alice.get(shown)
    project = Project.objects.get()
    assert set(re.findall(r"\b[0-9a-f]{32}\b", page.text)) == {project.pk}
    found = set(re.findall(r"\b[0-9a-f]{64}\b", page.text))
    assert found - {project.public_key_x, project.subscribe_topic} == set(
        SECRET.findall(page.text)
    )
