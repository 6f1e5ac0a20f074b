"""The inbox: list, filters, actions, and escaping of texts."""

from __future__ import annotations

import re

import pytest

from accounts.services import revoke_device
from dashboard.pages.inbox import PAGE
from dashboard.pages.message import safe_link
from subscriptions.models import DappDocument, NotifyMessageRecord
from tests.dashboard.conftest import text_of

# The button of a suggestion.
LATER = 'value="later"'


def titles(page) -> list[str]:
    return re.findall(
        r'message__title truncate" dir="auto" href="[^"]*">([^<]*)</a>', page.text
    )


@pytest.mark.parametrize("tab", ["unread", "all", "snoozed", "archived"])
def test_a_new_inbox_shows_how_to_begin_and_nothing_to_filter(bob, tab):
    page = bob.get(f"/inbox?tab={tab}").text
    assert "Subscribe to a dapp to begin" in page
    assert page.count("<h3>") == 3
    # Both appear with the first row, which a live update may bring.
    assert '<div class="inbox__head" data-filled="messages" hidden>' in page
    assert 'id="inbox-form" data-filled="messages" hidden>' in page


@pytest.mark.parametrize("tab", ["unread", "all", "snoozed", "archived"])
def test_an_inbox_with_a_subscription_has_its_filters(alice, subscription, tab):
    page = alice.get(f"/inbox?tab={tab}").text
    assert '<div class="inbox__head">' in page
    assert "to begin" not in page


def test_a_search_in_a_new_inbox_can_be_cleared(bob):
    page = bob.get("/inbox?q=vote").text
    assert '<div class="inbox__head">' in page
    assert "Clear filters" in page


def test_unread_is_the_first_tab_and_newest_come_first(alice, notify):
    first, second = notify(title="First"), notify(title="Second")
    assert titles(alice.get("/inbox")) == ["Second", "First"]
    alice.get(f"/inbox/{first.pk}")
    assert titles(alice.get("/inbox")) == ["Second"]
    assert titles(alice.get("/inbox?tab=all")) == ["Second", "First"]
    alice.press("/inbox/act", act=f"archive:{second.pk}")
    assert titles(alice.get("/inbox?tab=all")) == ["First"]
    assert titles(alice.get("/inbox?tab=archived")) == ["Second"]


def test_opening_marks_as_read_on_every_device(alice, notify):
    record = notify()
    first, second = alice.browsers
    assert "is-unread" in second.get("/inbox?tab=all").text
    first.get(f"/inbox/{record.pk}")
    assert "is-unread" not in second.get("/inbox?tab=all").text
    record.refresh_from_db()
    assert record.read_by == first.device


def test_reloading_a_page_marks_nothing_as_read(alice, notify):
    record = notify()
    alice.get(f"/inbox/{record.pk}", **{"X-Refetch": "1"})
    record.refresh_from_db()
    assert record.read_at is None


def test_texts_of_dapps_have_the_direction_of_their_script(alice, notify):
    record = notify(title="שלום", body="abc")
    page = alice.get(f"/inbox/{record.pk}?tab=all").text
    for start in (
        f'message__title truncate" dir="auto" href="/inbox/{record.pk}',
        '<p class="message__body" dir="auto">abc',
        'dir="auto" tabindex="-1">שלום',
        '<p class="detail__body" dir="auto">abc',
    ):
        assert start in page


def test_suggestions_come_one_at_a_time_and_can_be_put_off(bob, alice, notify):
    assert LATER not in bob.get("/inbox").text
    # Alice has two browsers, so only push is left to suggest, once something has arrived.
    assert LATER not in alice.get("/inbox").text
    notify()
    page = alice.get("/inbox").text
    assert "Be notified when no page is open" in page
    assert page.count(LATER) == 1
    alice.press("/settings/look", **{"step-push": "later", "next": "/inbox"})
    assert LATER not in alice.get("/inbox").text
    # Of this browser only.
    assert LATER in alice.browsers[1].get("/inbox").text


def test_a_second_device_is_suggested_first(alice, notify):
    notify()
    first, second = alice.browsers
    revoke_device(second.device, by=first.device)
    assert "Add a second device" in first.get("/inbox").text
    first.press("/settings/look", **{"step-device": "later", "next": "/inbox"})
    page = first.get("/inbox").text
    assert "Add a second device" not in page
    assert "Be notified when no page is open" in page


def test_a_type_is_shown_by_its_name(alice, notify):
    record = notify(type="alerts")
    DappDocument.objects.update(
        types=[{"name": "alerts", "title": "Price alerts", "description": "x"}]
    )
    dapp = record.subscription.dapp_url
    page = alice.get(f"/inbox?tab=all&dapp={dapp}")
    assert '<span class="chip">Price alerts</span>' in page.text
    assert '<option value="alerts">Price alerts</option>' in page.text
    detail = text_of(alice.get(f"/inbox/{record.pk}"))
    assert "You allowed Price alerts (Urgent)" in detail


def test_the_reason_and_the_proof_are_shown(alice, dapp, notify):
    record = notify(type="alerts")
    page = text_of(alice.get(f"/inbox/{record.pk}"))
    assert "You allowed alerts (Urgent) from" in page
    assert "on Firefox · Mac" in page
    assert dapp.key.did in page
    assert "by the dapp's authentication key" in page
    assert record.message_auth in page


@pytest.mark.parametrize("field", ["title", "body"])
def test_text_from_a_dapp_is_escaped(alice, notify, field):
    notify(**{field: "<script>alert(1)</script> <b>bold</b> & {{ 7|add:7 }}"})
    page = alice.get("/inbox")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page.text
    assert "<script>alert" not in page.text
    assert "{{ 7|add:7 }}" in page.text


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://acme.example/p/1", True),
        ("https://elsewhere.example/", True),
        ("http://acme.example/", False),
        ("javascript:alert(1)", False),
        ("https://acme.example@evil.example/", False),
        ("https:\\\\evil.example", False),
        ("data:text/html,hi", False),
        ("//evil.example", False),
        ("", False),
    ],
)
def test_only_https_links_are_shown(url, shown):
    assert bool(safe_link(url, dapp_url="https://acme.example")) is shown


def test_a_dapp_on_this_machine_may_link_to_itself():
    own = "http://localhost:8000/dapps/acme"
    assert safe_link(own + "/p", dapp_url=own) == own + "/p"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://\u0430pple.com/a?b=c#d", "https://xn--pple-43d.com/a?b=c#d"),
        ("https://m\u00fcnchen.example:8443/", "https://xn--mnchen-3ya.example:8443/"),
        ("https://apple.com/\u0430", "https://apple.com/\u0430"),
        ("https://\uff0fevil.example/", ""),
        ("https://\u0430:port/", ""),
    ],
)
def test_look_alike_hosts_of_links_are_shown_in_punycode(url, shown):
    assert safe_link(url, dapp_url="https://acme.example") == shown


def test_plain_http_is_shown_on_the_dapps_own_origin_only():
    own = "http://localhost:8000"
    assert safe_link(own, dapp_url=own) == own
    assert not safe_link("http://localhost:9000/", dapp_url=own)


def test_a_link_to_another_host_shows_a_warning(alice, notify):
    page = alice.get(f"/inbox/{notify(url='https://elsewhere.example/').pk}")
    assert "Open elsewhere.example" in text_of(page)
    assert "which is not the dapp's own domain" in text_of(page)
    assert 'rel="noopener noreferrer"' in page.text


def test_an_action_returns_the_row_and_its_undo(alice, notify):
    record = notify()
    answer = alice.press("/inbox/act", act=f"read:{record.pk}")
    assert answer.text.startswith("\n<li") or "<li" in answer.text[:200]
    assert 'data-unread="no"' in answer.text
    assert 'id="unread-count"' in answer.text
    assert f"unread:{record.pk}" in answer.headers["HX-Trigger"]
    alice.press("/inbox/act", act=f"unread:{record.pk}")
    record.refresh_from_db()
    assert record.read_at is None


def test_without_javascript_an_action_redirects_to_the_page(alice, notify):
    record = notify()
    answer = alice.post("/inbox/act", act=f"archive:{record.pk}", next="/inbox?tab=all")
    assert answer.headers["Location"] == "/inbox?tab=all"
    assert "Archived." in text_of(alice.get("/inbox?tab=all"))


def test_many_are_chosen_at_once(alice, notify):
    records = [notify(title=f"Number {number}") for number in range(3)]
    answer = alice.press(
        "/inbox/act", act="archive:chosen", chosen=[r.pk for r in records[:2]]
    )
    assert "2 notifications: archived." in answer.headers["HX-Trigger"]
    assert titles(alice.get("/inbox")) == ["Number 2"]


@pytest.mark.parametrize(
    "act", ["", "explode:1", "read", "read:", "read:abc", "read:0"]
)
def test_an_unknown_action_changes_nothing(alice, notify, act):
    record = notify()
    assert alice.press("/inbox/act", act=act).status_code in (400, 404)
    record.refresh_from_db()
    assert record.read_at is None


def test_filters_are_in_the_url(alice, dapp, notify):
    notify(title="Vote now", type="alerts")
    notify(title="New blog post", type="news", body="About the vote")
    assert titles(alice.get("/inbox?q=vote")) == ["New blog post", "Vote now"]
    assert titles(alice.get("/inbox?q=vote+now")) == ["Vote now"]
    assert titles(alice.get("/inbox?type=news")) == ["New blog post"]
    assert titles(alice.get(f"/inbox?dapp={dapp.url}")) == ["New blog post", "Vote now"]
    assert titles(alice.get("/inbox?dapp=https://other.example")) == []
    assert "Nothing here matches" in text_of(alice.get("/inbox?q=nowhere"))
    assert titles(alice.get(f"/inbox?account={alice.account.pk}")) != []


@pytest.mark.parametrize(
    "query",
    ["tab=x", "before=abc", "before=99999999999999999999", "type=%27%22", "q=%25_"],
)
def test_any_address_is_answered(alice, notify, query):
    notify()
    assert alice.get(f"/inbox?{query}").status_code == 200


def test_older_notifications_are_on_the_next_page(alice, notify):
    newest = notify(title="Newest")
    copies = [
        NotifyMessageRecord(
            subscription=newest.subscription,
            rpc_id=number + 1,
            type="alerts",
            title=f"Old {number}",
            body="",
            message_auth="",
            published_at=newest.published_at.replace(year=2020),
            received_at=newest.received_at,
        )
        for number in range(PAGE)
    ]
    NotifyMessageRecord.objects.bulk_create(copies)
    page = alice.get("/inbox")
    assert len(titles(page)) == PAGE
    (older,) = re.findall(r'href="\?before=(\d+)"', page.text)
    rest = alice.get(f"/inbox?before={older}")
    assert titles(rest) == ["Old 0"]
    assert "Load older" not in text_of(rest)


def test_the_number_of_queries_does_not_grow_with_the_inbox(
    alice, notify, django_assert_max_num_queries
):
    for number in range(5):
        notify(title=f"Number {number}")
    with django_assert_max_num_queries(14):
        alice.get("/inbox")


def test_names_and_texts_cannot_reorder_a_page(alice, subscription, notify):
    """Right-to-left overrides in a dapp's name or a notification are shown as such."""
    record = notify(title="Invoice \u202egnp.exe", body="\u2066pay\u2069")
    subscription.metadata = subscription.metadata | {"name": "Uni\u202epaws"}
    subscription.save()
    paths = ["/inbox", f"/inbox/{record.pk}", "/subscriptions"]
    pages = [alice.get(path).content for path in paths]
    pages.append(
        b"".join(
            each["html"].encode()
            for each in alice.get("/live/events?generation=&sequence=0")
            .json()
            .get("frames", [])
        )
    )
    for page in pages:
        assert "\u202e".encode() not in page
        assert "\u2066".encode() not in page
    assert "Invoice \ufffdgnp.exe".encode() in pages[0]
    assert "Uni\ufffdpaws".encode() in pages[2]


# --- rows and their menu --------------------------------------------------------------


def test_braces_and_percent_signs_in_texts_are_texts(alice, dapp, notify):
    strange = "{pk} {0} {{title}} %(title)s %s {body!r}"
    notify(title=strange, body=strange)
    page = alice.get("/inbox")
    assert titles(page) == [strange]
    assert page.text.count(strange) >= 5
    row = re.search(r'<li class="row message.*?</li>', page.text, re.DOTALL)
    assert "{" not in row.group().replace(strange, "")


@pytest.mark.parametrize("language", ["en", "de"])
def test_a_row_is_small_and_shares_its_menu(alice, notify, language):
    for number in range(3):
        notify(title=f"Number {number}", body="b" * 255)
    alice.browser.client.cookies["language"] = language
    page = alice.get("/inbox", **{"Accept-Language": language})
    rows = re.findall(r'<li class="row message.*?</li>', page.text, re.DOTALL)
    assert len(rows) == 3
    assert max(len(row) for row in rows) < 3_000
    assert "popover" not in rows[0]
    assert page.text.count('id="row-menu"') == 1
    # Each icon that a row refers to is drawn on the page.
    drawn = set(re.findall(r'<symbol id="(icon-[\w-]+)"', page.text))
    assert set(re.findall(r'href="#(icon-[\w-]+)"', page.text)) <= drawn


def test_without_javascript_more_leads_to_a_page_of_actions(alice, notify):
    record = notify(title="Vote now")
    there = alice.post("/inbox/act", act=f"more:{record.pk}", list="tab=unread&q=vote")
    assert there.headers["Location"] == f"/inbox/{record.pk}/actions?tab=unread&q=vote"
    page = alice.follow(there)
    assert "Vote now" in text_of(page)
    offered = set(re.findall(r'name="act" value="([^"]+)"', page.text))
    names = {each.partition(":")[0] for each in offered}
    assert names == {
        "read",
        "archive",
        "delete",
        *(f"snooze-{when}" for when in ("1h", "evening", "morning", "week")),
    }
    assert f"read:upto-{record.pk}" in offered
    assert 'name="next" value="/inbox?tab=unread&amp;q=vote"' in page.text
    record.refresh_from_db()
    assert record.read_at is None
    alice.press("/inbox/act", act=f"archive:{record.pk}")
    page = alice.get(f"/inbox/{record.pk}/actions")
    offered = set(re.findall(r'name="act" value="(\w+)', page.text))
    assert offered == {"unarchive", "delete"}
    assert alice.get("/inbox/999999/actions").status_code == 404
    assert alice.post("/inbox/act", act="more:x").status_code == 400


@pytest.mark.parametrize("act", ["archive", "delete", "read", "snooze-1h"])
def test_without_javascript_the_next_page_offers_undo(alice, notify, act):
    record = notify()
    page = alice.follow(
        alice.post("/inbox/act", act=f"{act}:{record.pk}", next="/inbox")
    )
    (undo,) = re.findall(r'name="act" value="([^"]+)">Undo<', page.text)
    page = alice.follow(alice.post("/inbox/act", act=undo, next="/inbox"))
    record.refresh_from_db()
    assert record.read_at is None
    assert record.archived_at is None
    assert record.deleted_at is None
    assert record.snoozed_until is None
