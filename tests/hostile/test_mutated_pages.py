"""Mutated URLs and forms of the pages.

Signed in or not, the response is a page, a redirect or a 4xx, never a 5xx (the test client would
raise its cause), and a refusal changes nothing.
"""

from __future__ import annotations

import os
import random
from urllib.parse import quote, urlencode

import pytest
from django.db import transaction
from django.urls import reverse

from castserver.models import Project
from dashboard import urls
from tests.dashboard.conftest import Browser
from tests.hostile.test_mutated_calls import no_limits  # noqa: F401  # a fixture
from tests.hostile.unchanged import changed_since, contents
from tests.people import ALICE, Person
from tests.subscriptions.conftest import subscribed
from tests.subscriptions.world import deliver

HOW_MANY = int(os.environ.get("HOSTILE_TEXTS", "3"))

TEXTS = [
    "",
    "\x00",
    "a\x00b",
    "9" * 5000,
    "9" * 30,
    "-1",
    "\u0661",  # a digit, in Arabic
    "1e9",
    "a" * 20_000,
    "\u202egnp.exe\u2028",
    "%00",
    "<script>alert(1)</script>",
    "../../etc/passwd",
    "https://[::1",
    "javascript:alert(1)",
    '{"sig": [1]}',
]
# Query parameters by URL name.
QUERIES = {
    "sign-in": ("next", "start"),
    "sign-in-share": ("account",),
    "sign-text": ("account",),
    "inbox": ("account", "tab", "dapp", "type", "q", "before"),
    "discover": ("q",),
    "discover-choose": ("url",),
    "subscription-list": ("account",),
    "sync": ("account", "outcome", "store", "who", "q", "before", "until"),
    "sync-export": ("account", "outcome", "store", "who", "q", "before"),
    "project-send": ("type",),
    "live-events": ("generation", "sequence"),
}
# A valid form by URL name.
FORMS = {
    "sign-in-begin": {
        "address": ALICE.address,
        "signer": "elsewhere",
        "wallet": "Wallet",
        "next": "/inbox",
    },
    "sign-in-prove": {"signature": "0x12"},
    "sign-in-share": {"signature": "0x12"},
    "inbox-act": {"act": "read:chosen", "chosen": "1"},
    "subscription-update": {"type": "alerts"},
    "subscribe": {"url": "https://dapp.example", "type": "alerts", "account": "1"},
    "device-rename": {"name": "Phone"},
    "account-label": {"label": "Savings"},
    "account-remove": {"confirm": "no"},
    "theme": {"theme": "dark", "next": "/inbox"},
    "project-new": {"name": "X", "types": "a: b", "url": "", "description": ""},
    "project-types": {"types": "a: b"},
    "project-settings": {"name": "X", "description": "", "icon": ""},
    "project-send": {
        "type": "orders",
        "title": "Filled",
        "body": "All",
        "url": "",
        "icon": "",
        "audience": "me",
        "accounts": "",
        "also_type": "orders",
        "recipients": "",
        "at": "2027-01-01T10:00",
        "time_zone": "Europe/Berlin",
        "act": "schedule",
        "once": "a",
    },
    "template-new": {
        "name": "Price",
        "type": "orders",
        "title": "{{ token }}",
        "body": "All",
        "url": "",
        "icon": "",
    },
    "project-welcome": {
        "enabled": "on",
        "type": "orders",
        "title": "Hello",
        "body": "All",
        "url": "",
    },
    "project-domain": {"place": "own", "url": "https://a.example", "act": "save"},
    "accounts-upload": {"project": "lumen", "title": "Filled", "recipients": ""},
    "project-webhooks": {"url": "https://a.example/x", "events": "subscribed"},
}
PATTERNS = {each.name: each for each in urls.urlpatterns}


@pytest.fixture
def browser():
    """Alice's session; she owns one dapp and subscribed to another."""
    found = Browser().sign_in(ALICE, sync=True)
    found.get("/console/project/new")
    found.post("/console/project/new", name="Lumen", types="orders: Orders")
    # A pending re-authentication, so that its pages have content.
    found.begin(ALICE.address)
    found.get("/settings")
    return found


@pytest.fixture
def places(browser, dapp):
    """Alice's objects by the names of URL parameters."""
    device = browser.device
    owner = Person(device.user, ALICE.row(), [device], ALICE)
    subscription = subscribed(owner, dapp)
    deliver(dapp.notification(owner.account))
    return {
        "number": 2,
        "pk": owner.account.pk,
        "topic": subscription.topic,
        "slug": Project.objects.get().slug,
        "device_id": device.pk,
        "attempt_id": subscription.attempts.get().pk,
    }


def address(name, places):
    needed = PATTERNS[name].pattern.converters
    return reverse(f"dashboard:{name}", kwargs={each: places[each] for each in needed})


@pytest.fixture
def answered(request):
    """Send a request; return whether it was refused, which must change nothing."""
    before = {}

    def answered(send):
        before.update({} if before else contents())
        with transaction.atomic():
            response = send()
            assert response.status_code < 500, response.request["PATH_INFO"]
            if response.status_code >= 400:
                assert response.content
                assert changed_since(before) == {}, response.request["PATH_INFO"]
            transaction.set_rollback(True)

    return answered


def some_texts(*seed):
    return random.Random(str(seed)).sample(TEXTS, HOW_MANY)  # noqa: S311


def test_mutated_queries_of_pages(places, browser, answered):
    for name, parameters in QUERIES.items():
        path = address(name, places)
        for parameter in parameters:
            for text in some_texts(name, parameter):
                query = urlencode({parameter: text})
                answered(lambda url=f"{path}?{query}": browser.get(url))


def test_mutated_forms(places, browser, answered):
    for name, valid in FORMS.items():
        path = address(name, places)
        if name == "sign-in-share":
            path += f"?account={places['pk']}"
        for field in valid:
            for text in some_texts(name, field):
                form = {**valid, field: text}
                answered(lambda path=path, form=form: browser.post(path, **form))


def test_mutated_paths_of_pages(places, browser, answered):
    for name in ("message", "subscription", "project", "sign-text"):
        above = address(name, places).rpartition("/")[0]
        for text in some_texts(name, "place"):
            place = f"{above}/{quote(text, safe='')}"
            answered(lambda place=place: browser.get(place))


def test_signed_out_visitors_get_the_same_response(answered):
    stranger = Browser()
    for name in ("sign-in", "landing", "join"):
        for text in TEXTS:
            path = reverse(f"dashboard:{name}")
            query = urlencode({"next": text, "account": text, "start": text})
            answered(lambda path=path, query=query: stranger.get(f"{path}?{query}"))
