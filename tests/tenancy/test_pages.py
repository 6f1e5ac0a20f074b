"""The matrix of pages: every route and method as anonymous, another user, and the owner.

Routes come from the URL configuration. One that is not in ``OBJECTS`` or ``PLAIN`` fails, as
does a form field that the views read and ``FIELDS`` does not know.
"""

from __future__ import annotations

import copy
import re
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import transaction
from django.urls import reverse

from alerts.services.digest import _token
from common import clock
from dashboard import urls
from dashboard.access import ACCESS_RULE, Rule
from notifyweb.operations import urls as operations
from subscriptions import services
from subscriptions.models import DappDocument
from tests.tenancy.rows import all_rows, touched
from walletconnect.crypto.keys import KeyPair

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.tenancy.conftest import World

BASE = Path(__file__).resolve().parents[2]
ROUTES = {
    f"{module.app_name}:{each.name}": each
    for module in (urls, operations)
    for each in module.urlpatterns
}
OTHER_METHODS = ("PUT", "PATCH", "DELETE")
Arguments = dict[str, Any]


def _project(world: World, **more: Any) -> Arguments:
    return {"slug": world.project.slug, **more}


# What Alice's URL of each route with arguments names.
OBJECTS: dict[str, Callable[[World], Arguments]] = {
    "dashboard:sign-text": lambda w: {"number": 2},
    "dashboard:filter-remove": lambda w: {"pk": w.saved_filter.pk},
    "dashboard:message": lambda w: {"pk": w.message.pk},
    "dashboard:attempt": lambda w: {"attempt_id": w.subscription.attempts.get().pk},
    **{
        f"dashboard:{name}": lambda w: {"topic": w.subscription.topic}
        for name in (
            "subscription",
            "subscription-update",
            "subscription-delete",
            "subscription-keys",
            "subscription-mute",
            "dapp-block",
        )
    },
    "dashboard:new-epoch": lambda w: {"pk": w.alice.account.pk},
    "dashboard:dapp-unblock": lambda w: {"pk": w.blocked.pk},
    "dashboard:dapp": _project,
    "dashboard:domain-check": lambda w: {"check_id": w.check.pk},
    "dashboard:device-rename": lambda w: {"device_id": w.alice.device.pk},
    "dashboard:device-revoke": lambda w: {"device_id": w.alice.device.pk},
    "dashboard:account-label": lambda w: {"pk": w.alice.account.pk},
    "dashboard:account-remove": lambda w: {"pk": w.alice.account.pk},
    "dashboard:data-preview": lambda w: {"import_id": w.prepared.pk},
    "dashboard:forward-act": lambda w: {"forward_id": w.forward.pk},
    # These links are the proof themselves: who opened the mail may use them.
    "dashboard:digest-confirm": lambda w: {"token": _token(w.digest, "confirm")},
    "dashboard:digest-stop": lambda w: {"token": _token(w.digest, "stop")},
    "dashboard:secret-stored": lambda w: {"submission_id": w.submission.pk},
    **{
        f"dashboard:project{name}": _project
        for name in (
            "",
            "-close",
            "-send",
            "-subscribers",
            "-subscribers-csv",
            "-setup",
            "-domain",
            "-lists",
            "-scheduled",
            "-templates",
            "-welcome",
            "-types",
            "-keys",
            "-secret-add",
            "-webhooks",
            "-settings",
            "-members",
            "-leave",
            "-rotation",
        )
    },
    **{
        f"dashboard:{name}": lambda w: _project(w, pk=w.member.pk)
        for name in ("member-role", "member-remove", "member-hand-over")
    },
    "dashboard:invitation-withdraw": lambda w: _project(
        w, invitation_id=w.invitation.pk
    ),
    # The link is the right itself: its holder may join. test_roles.py has it.
    "dashboard:invitation": lambda w: {"token": "0" * 64},
    "dashboard:project-sent": lambda w: _project(w, notification_id=w.sent.pk),
    "dashboard:broadcast-cancel": lambda w: _project(w, notification_id=w.sent.pk),
    "dashboard:project-secret-revoke": lambda w: _project(w, pk=w.secret_pk),
    "dashboard:project-webhook": lambda w: _project(w, webhook_id=w.webhook.pk),
    "dashboard:project-webhook-replay": lambda w: _project(
        w, delivery_id=w.delivery.pk
    ),
    "dashboard:template-new": _project,
    "dashboard:template-edit": lambda w: _project(w, template_id=w.template.pk),
    "dashboard:list-delete": lambda w: _project(w, list_id=w.recipients.pk),
    "dashboard:broadcast-retry": lambda w: _project(w, notification_id=w.sent.pk),
    "dashboard:project-secret-replace": lambda w: _project(w, pk=w.secret_pk),
    "dashboard:problem": lambda w: {"slug": "taken"},
    "dashboard:project-setup-step": lambda w: _project(w, step="keys"),
    "dashboard:project-document": lambda w: _project(w, name="did.json"),
    "dashboard:message-actions": lambda w: {"pk": w.message.pk},
    "dashboard:project-webhook-rotate": lambda w: _project(w, webhook_id=w.webhook.pk),
    "dashboard:project-webhook-replay-range": lambda w: _project(
        w, webhook_id=w.webhook.pk
    ),
    # Pictures are found by the digest of their content.
    "dashboard:icon": lambda w: {"slug": "0" * 64},
    "dashboard:catalog": lambda w: {"language": "de"},
    "operations:failed-act": lambda w: {"act": "drop"},
    "operations:job-run": lambda w: {"pk": w.job.pk},
}
# Routes without arguments: what they show is the session's.
PLAIN = {
    *(
        f"dashboard:{name}"
        for name in [
            "landing",
            "offline",
            "demo",
            "join",
            "sign-in",
            "sign-in-again",
            "sign-in-begin",
            "sign-in-prove",
            "sign-in-share",
            "sign-out",
            "inbox",
            "inbox-act",
            "filter-save",
            "subscription-list",
            "discover",
            "discover-choose",
            "demo-collide",
            "demo-online",
            "problems",
            "new-group",
            "link-show",
            "link-state",
            "link-confirm",
            "key-ask",
            "key-give",
            "sign-in-phone",
            "sign-in-phone-code",
            "sign-in-phone-end",
            "sync-verify",
            "accounts-upload",
            "subscribe",
            "device-list",
            "device-revoke-others",
            "sync",
            "sync-export",
            "settings",
            "theme",
            "data",
            "data-export",
            "data-csv",
            "data-import",
            "quiet-hours",
            "push-enable",
            "push-disable",
            "push-test",
            "forward-add",
            "digest",
            "manifest",
            "service-worker",
            "console",
            "project-new",
            "live-events",
        ]
    ),
    *(
        f"operations:{name}"
        for name in (
            "overview",
            "failed",
            "replay",
            "jobs",
            "storage",
            "audit",
            "doctor",
        )
    ),
}
# Public addresses whose argument is no object of a user, or is the proof itself.
OPEN = {
    "dashboard:catalog",
    "dashboard:dapp",
    "dashboard:icon",
    "dashboard:problem",
    "dashboard:digest-confirm",
    "dashboard:digest-stop",
}
# A subscriber's own page of a project, and a number that is no object.
NOT_OWNED = {
    "dashboard:sign-text",
    "dashboard:invitation",
    "operations:failed-act",
    "operations:job-run",
}
# Forms with which Alice's request changes something, by route; the default is empty.
FORMS: dict[str, list[Callable[[World], Arguments]]] = {
    "dashboard:sign-in-begin": [
        lambda w: {"address": w.alice.wallet.address, "signer": "elsewhere"}
    ],
    "dashboard:inbox-act": [
        lambda w: {"act": f"archive:{w.message.pk}"},
        lambda w: {"act": "archive:chosen", "chosen": w.message.pk},
        lambda w: {"act": f"delete:upto-{w.message.pk}", "list": "tab=all"},
        lambda w: {
            "act": "archive:all",
            "list": f"tab=all&account={w.alice.account.pk}",
        },
        lambda w: {"act": f"snooze-1h:{w.message.pk}"},
    ],
    "dashboard:filter-save": [
        lambda w: {"name": "New", "list": f"account={w.alice.account.pk}&tab=all"}
    ],
    "dashboard:subscription-update": [lambda w: {"type": "news"}],
    "dashboard:subscription-mute": [lambda w: {"for": "1h"}, lambda w: {"unmute": ""}],
    "dashboard:subscribe": [
        lambda w: {
            "url": "http://localhost:9",
            "type": "alerts",
            "account": w.alice.account.pk,
        }
    ],
    "dashboard:device-rename": [lambda w: {"name": "Other"}],
    "dashboard:account-label": [lambda w: {"label": "Other"}],
    "dashboard:account-remove": [lambda w: {"confirm": "yes"}],
    "dashboard:data-export": [
        lambda w: {
            "account": w.alice.account.pk,
            "passphrase": "correct horse battery",
            "again": "correct horse battery",
        }
    ],
    "dashboard:data-preview": [lambda w: {"act": "import"}, lambda w: {"act": "no"}],
    "dashboard:quiet-hours": [
        lambda w: {"quiet": "on", "from": "22:00", "until": "07:00", "zone": "UTC"}
    ],
    "dashboard:forward-add": [
        lambda w: {"kind": "ntfy", "url": "https://ntfy.example/other", "token": "x"}
    ],
    "dashboard:forward-act": [
        lambda w: {"act": "test"},
        lambda w: {"act": "remove"},
    ],
    "dashboard:digest": [
        lambda w: {"email": w.digest.email, "frequency": "daily", "hour": "9"},
        lambda w: {"frequency": "off"},
    ],
    "dashboard:project-new": [lambda w: {"name": "Other", "types": "news: News"}],
    "dashboard:project-close": [lambda w: {"confirm": "yes"}],
    "dashboard:project-send": [
        lambda w: {
            "type": "orders",
            "title": "Hello",
            "body": "World",
            "audience": "list",
            "accounts": w.alice.account.address,
        }
    ],
    "dashboard:template-new": [
        lambda w: {"name": "New", "type": "orders", "title": "Hi", "body": "x"}
    ],
    "dashboard:template-edit": [
        lambda w: {"name": "New", "type": "orders", "title": "Hi", "body": "x"},
        lambda w: {"act": "delete"},
    ],
    "dashboard:project-welcome": [
        lambda w: {"enabled": "on", "type": "orders", "title": "Hi", "body": "x"}
    ],
    "dashboard:link-confirm": [lambda w: {"code": w.link_code}],
    "dashboard:accounts-upload": [
        lambda w: {
            "project": w.project.slug,
            "file": SimpleUploadedFile("a.csv", w.alice.account.address.encode()),
        }
    ],
    "dashboard:project-domain": [
        lambda w: {"place": "own", "url": "https://zq9.example"}
    ],
    "dashboard:project-webhook-replay-range": [
        lambda w: {
            "since": "2026-01-01T00:00",
            "until": "2030-01-01T00:00",
            "states": "delivered",
        }
    ],
    "dashboard:project-types": [lambda w: {"types": "orders: Other"}],
    "dashboard:project-settings": [lambda w: {"name": "Other"}],
    "dashboard:project-webhooks": [
        lambda w: {"url": "https://other.example/hook", "events": "subscribed"}
    ],
    "dashboard:project-webhook": [
        lambda w: {"act": "test"},
        lambda w: {"act": "delete"},
    ],
    "dashboard:project-members": [lambda w: {"role": "viewer", "days": "7"}],
    "dashboard:project-rotation": [lambda w: {"act": "begin"}],
    "dashboard:member-role": [lambda w: {"role": "viewer"}],
    "dashboard:theme": [lambda w: {"theme": "dark"}],
    "operations:failed-act": [
        lambda w: {"queue": "alerts.ForwardDelivery", "reason": "", "pk": ""}
    ],
}
# Owners' POSTs that change no row: they need a new signature, a file, another state.
CHANGE_NOTHING = {
    # The project's wizard is finished.
    "dashboard:project-setup-step",
    "dashboard:sign-in-prove",
    "dashboard:sign-in-share",
    "dashboard:subscribe",
    "dashboard:data-import",
    # A device does not confirm its own code; the relay's wallet is missing.
    "dashboard:link-confirm",
    # Without a request of a device on another server; test_key_transfer.py has those.
    "dashboard:key-give",
    "dashboard:new-group",
    "dashboard:sign-in-phone-code",
    "dashboard:broadcast-retry",
    "dashboard:push-enable",
    # The main owner cannot leave.
    "dashboard:project-leave",
    "dashboard:theme",
    "dashboard:broadcast-cancel",
    "dashboard:project-webhook-replay",
    "operations:failed-act",
    "operations:job-run",
}
# In another state: the tests below. A picture, and a phone on the relay, are nobody's.
DEMO_ONLY = {
    "dashboard:demo",
    "dashboard:demo-collide",
    "dashboard:demo-online",
    "dashboard:join",
}
ELSEWHERE = {
    *DEMO_ONLY,
    "dashboard:icon",
    "dashboard:sign-in-phone-code",
    "dashboard:subscription-keys",
    "dashboard:invitation",
}
# Every name that views read from a query or form: whether it names an object.
FIELDS = {
    "code": True,
    "project": True,
    "recipients": True,
    "template": True,
    "account": True,
    "accounts": True,
    "act": True,
    "before": True,
    "chosen": True,
    "generation": True,
    "list": True,
    "made": True,
    "pk": True,
    "queue": True,
    "sequence": True,
    "url": True,
    **dict.fromkeys(
        [
            "address",
            "again",
            # Texts between two servers, sealed or read by test_key_transfer.py.
            "answer",
            "request",
            "appDomain",
            "confirm",
            "dapp",
            "density",
            "email",
            "events",
            "for",
            "frequency",
            "from",
            "hour",
            "icon",
            "kind",
            "label",
            "language",
            "name",
            "next",
            "outcome",
            "passphrase",
            "pressed",
            "q",
            "quiet",
            "reason",
            "rows",
            "role",
            "seen",
            "shortcuts",
            "signature",
            "signer",
            "start",
            "subscription",
            "tab",
            "theme",
            "token",
            "type",
            "unmute",
            "until",
            "access",
            "after",
            "check",
            "compare",
            "leave_out",
            "scope",
            "show",
            "state",
            "store",
            "uri",
            "who",
            "wallet",
            "weekends",
            "zone",
            "title",
            "body",
            "description",
            "types",
            "audience",
        ],
        False,
    ),
}
READ = re.compile(
    r"\b(?:POST|GET|form|given|query|parameters)(?:\.get|\.getlist)?[\[(]\s*\"(\w+)\""
)
NOISE = [
    (re.compile(r'name="csrfmiddlewaretoken" value="[^"]+"'), ""),
    (re.compile(r'nonce="[^"]+"'), ""),
    (re.compile(r"X-CSRFToken[^}]+}"), ""),
    (re.compile(r"Request <code>[0-9a-f]+</code>"), ""),
]


def rule_of(name: str) -> Rule:
    return getattr(ROUTES[name].callback, ACCESS_RULE)


def path_of(name: str, arguments: Arguments) -> str:
    return reverse(name, kwargs=arguments)


def absent(arguments: Arguments) -> Arguments:
    """The same arguments for objects that do not exist; a project keeps its slug if it
    is only the way to the object."""
    made: Arguments = {}
    for name, value in arguments.items():
        if isinstance(value, uuid.UUID):
            made[name] = uuid.UUID(int=7)
        elif isinstance(value, int):
            made[name] = 987654321
        else:
            made[name] = "0" * 64 if name == "topic" else "not-there"
    return made


def plain_text(response: Any, arguments: Arguments) -> str:
    text = response.text
    for pattern, value in NOISE:
        text = pattern.sub(value, text)
    # The primary key of a row, a digit or two, is also part of other numbers.
    for value in (each for each in map(str, arguments.values()) if len(each) > 4):
        text = text.replace(value, "*")
    return text


@contextmanager
def undone(*browsers: Any) -> Iterator[None]:
    """Roll back what the block does to the database and to the cookies."""
    cookies = [copy.deepcopy(each.client.cookies) for each in browsers]
    with transaction.atomic():
        yield
        transaction.set_rollback(True)
    for browser, kept in zip(browsers, cookies, strict=True):
        browser.client.cookies = kept


def forms_of(name: str, world: World) -> list[Arguments]:
    return [make(world) for make in FORMS.get(name, [lambda _: {}])]


# --- the matrix is complete -------------------------------------------------------------


def test_every_route_is_in_the_matrix():
    assert set(OBJECTS) | PLAIN == set(ROUTES)
    with_arguments = {n for n, each in ROUTES.items() if each.pattern.converters}
    assert set(OBJECTS) == with_arguments


def test_every_field_that_views_read_is_known():
    folders = ("dashboard", "notifyweb/operations")
    sources = [path for each in folders for path in (BASE / each).rglob("*.py")]
    found = {name for path in sources for name in READ.findall(path.read_text())}
    assert len(found) > 30
    assert found - set(FIELDS) == set()


def test_every_field_that_names_an_object_is_used_with_alices(world):
    sent = {
        field for name in FORMS for form in forms_of(name, world) for field in form
    } | set(foreign_query(world))
    assert {name for name, names_object in FIELDS.items() if names_object} <= sent


def foreign_query(world: World) -> Arguments:
    return {
        "account": world.alice.account.pk,
        "made": world.submission.pk,
        "generation": world.alice.user.event_generation,
        "sequence": 0,
        "before": world.message.pk + 1,
        "tab": "all",
        "url": world.subscription.dapp_url,
        "code": world.link_code,
        "project": world.project.slug,
        "recipients": world.recipients.pk,
        "template": world.template.pk,
        "from": world.sent.pk,
    }


# --- as anonymous -----------------------------------------------------------------------


def test_an_anonymous_visitor_reads_and_changes_nothing(world, stranger):
    stranger.get("/signin")
    before = all_rows()
    for name in ROUTES:
        arguments = OBJECTS.get(name, lambda _: {})(world)
        path = f"{path_of(name, arguments)}?{urlencode(foreign_query(world))}"
        for form in [None, *forms_of(name, world)]:
            with undone(stranger):
                response = (
                    stranger.get(path) if form is None else stranger.post(path, **form)
                )
                if rule_of(name) is not Rule.PUBLIC:
                    assert response.status_code == 302, name
                    assert response["Location"].startswith("/signin?next="), name
                    assert touched(world.rows, before, all_rows()) == [], name
                elif name not in OPEN:
                    assert touched(world.rows, before, all_rows()) == [], name
                    assert marks_in(response, path, world) == set(), name


# --- as another user --------------------------------------------------------------------


def marks_in(response: Any, path: str, world: World) -> set[str]:
    """Alice's marks in a response, apart from those that the request itself sent."""
    if response.status_code in (301, 302):
        return set()
    text = response.getvalue().decode().lower()
    return {
        mark
        for mark in map(str.lower, world.marks)
        if mark in text and mark not in path
    }


def test_another_user_reads_and_changes_nothing(world, charlie):
    """404 for each object, and the same page as for an object that does not exist."""
    charlie.get("/settings")
    before = all_rows()
    for name in ROUTES:
        if name in OPEN:
            continue
        arguments = OBJECTS.get(name, lambda _: {})(world)
        path = path_of(name, arguments)
        query = urlencode(foreign_query(world))
        requests = [(f"{path}?{query}", None)]
        requests += [(path, form) for form in forms_of(name, world)]
        statuses = set()
        for address, form in requests:
            with undone(charlie.browser):
                sent = (
                    charlie.get(address)
                    if form is None
                    else charlie.post(address, **form)
                )
                statuses.add(sent.status_code)
                assert touched(world.rows, before, all_rows()) == [], (name, form)
                found = marks_in(sent, f"{address} {form}".lower(), world)
                assert found == set(), (name, address, form)
        if arguments and name not in NOT_OWNED:
            assert 404 in statuses, name
            assert statuses <= {404, 405}, name
        if rule_of(name) is Rule.STAFF:
            assert statuses <= {404}, name


# Parts of a project that have a name and not an id: every project has the same.
NAMED_PARTS = {"dashboard:project-document", "dashboard:project-setup-step"}


def test_an_own_project_does_not_lead_to_anothers_objects(
    world, charlie, charlies_project
):
    """Charlie's own slug in the path, an object of Alice's project behind it."""
    own, _ = charlies_project
    charlie.get("/settings")
    before = all_rows()
    nested = 0
    for name, make in OBJECTS.items():
        arguments = make(world)
        if "slug" not in arguments or len(arguments) < 2 or name in NAMED_PARTS:
            continue
        nested += 1
        path = path_of(name, arguments | {"slug": own.slug})
        for form in [None, *forms_of(name, world)]:
            with undone(charlie.browser):
                sent = charlie.get(path) if form is None else charlie.post(path, **form)
                assert sent.status_code in {302, 404, 405}, (name, form)
                assert touched(world.rows, before, all_rows()) == [], (name, form)
                assert marks_in(sent, path, world) == set(), name
    assert nested > 7


def test_foreign_and_absent_objects_look_the_same(world, charlie):
    charlie.get("/settings")
    for name, make in OBJECTS.items():
        if name in OPEN | NOT_OWNED:
            continue
        pages = []
        for arguments in (make(world), absent(make(world))):
            path = path_of(name, arguments)
            form = forms_of(name, world)[0]
            pages += [
                (response.status_code, plain_text(response, arguments))
                for response in (charlie.get(path), charlie.post(path, **form))
            ]
        assert pages[:2] == pages[2:], name


# --- as the owner -----------------------------------------------------------------------


def test_the_owner_reads_and_changes_them(world, operator):
    """The matrix proves nothing if these requests would not work for their owner."""
    before, unusable, without_effect = all_rows(), {}, set()
    for name in sorted(set(ROUTES) - ELSEWHERE):
        person = operator if rule_of(name) is Rule.STAFF else world.alice
        arguments = OBJECTS.get(name, lambda _: {})(world)
        path = path_of(name, arguments)
        if rule_of(name) is not Rule.STAFF:
            path += f"?account={world.alice.account.pk}"
        statuses = set()
        for form in [None, *forms_of(name, world)]:
            person.get("/settings")
            with undone(person.browser):
                response = (
                    person.get(path) if form is None else person.post(path, **form)
                )
                statuses.add(response.status_code)
                is_done = form is not None and response.status_code < 400
                if is_done and all_rows() == before:
                    without_effect.add(name)
        if not {200, 302} & statuses:
            unusable[name] = statuses
    assert unusable == {}
    assert without_effect - CHANGE_NOTHING == set()


def test_the_owner_accepts_keys_that_wait_and_nobody_else(world, charlie, dapp):
    dapp.key_pair_x = KeyPair.from_private(b"n" * 32)
    DappDocument.objects.update(expires_at=clock.now())
    services.look_up_dapp(dapp.url)
    path = path_of("dashboard:subscription-keys", {"topic": world.subscription.topic})
    charlie.get("/settings")
    assert charlie.post(path).status_code == 404
    document = DappDocument.objects.get(url=world.subscription.dapp_url)
    assert document.changed_keys is not None
    world.alice.get("/settings")
    assert world.alice.post(path).status_code == 302
    document.refresh_from_db()
    assert document.changed_keys is None


@pytest.mark.parametrize("name", sorted(DEMO_ONLY))
def test_pages_of_the_demo_show_their_own_user(name, world, charlie, settings):
    settings.DEMO = True
    path = path_of(name, {})
    before = all_rows()
    for person, is_owner in ((charlie, False), (world.alice, True)):
        person.get("/settings")
        with undone(person.browser):
            sent = [person.get(path), person.post(path, sequence="0")]
            assert {each.status_code for each in sent} & {200, 302}
            changed = touched(world.rows, before, all_rows())
            if is_owner:
                assert marks_in(sent[0], path, world) or name != "dashboard:demo"
            else:
                assert changed == []
                for each in sent:
                    assert marks_in(each, path, world) == set()


def test_other_methods_are_refused(world, charlie):
    people = (world.alice, charlie)
    for person in people:
        person.get("/settings")
    for name in ROUTES:
        arguments = OBJECTS.get(name, lambda _: {})(world)
        for person in people:
            for method in OTHER_METHODS:
                response = person.browser.client.generic(
                    method,
                    path_of(name, arguments),
                    headers={"X-CSRFToken": person.browser.token},
                )
                assert response.status_code in {404, 405}, (name, method)


# --- staff ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in ROUTES if n.startswith("operations:")])
def test_pages_for_staff_show_no_secret_and_no_content(world, operator, name):
    arguments = OBJECTS.get(name, lambda _: {})(world)
    response = operator.get(path_of(name, arguments))
    assert response.status_code in {200, 302, 404, 405}
    for mark in ("Zq9-title", "Zq9-body", "Zq9-sent", world.secret):
        assert mark not in response.text
