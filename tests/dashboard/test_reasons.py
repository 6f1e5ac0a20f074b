"""What services refuse is shown in the language of the page.

The first test reads the reasons from the code of the services; the others send wrong values to
the forms in both languages.
"""

from __future__ import annotations

import ast
import html
import re
from itertools import product
from pathlib import Path

import pytest
from django.conf import settings
from django.utils import translation

from castserver.services.projects.projects import TypeDraft, create_project
from dashboard.reasons import sentence, template_of, translate_reason
from subscriptions.models import DappDocument, SubscribeAttempt

BASE = Path(settings.BASE_DIR)
CAST = ("Invalid", "Taken", "Missing", "Ended", "NotNow", "TooMany", "StillRunning")
REFUSED = ("DappUnusable", "TooMany", "NotReady")
OUTBOUND = ("OutboundRefused", "OutboundFailed", "outbound.OutboundRefused")
REMOTE = ("RemoteProtocolError",)
# Where pages show the text of an error, and the errors.
RAISED = {
    "castserver/services": (*CAST, *OUTBOUND, "Attempt"),
    "dashboard/views": CAST,
    "subscriptions/services": REFUSED,
    "alerts/services": ("DigestError", "ForwardError", "PreferenceError", "PushError"),
    "portability": ("ExportFileError", "report.refuse"),
    "common/links.py": ("NotALink",),
    "common/dapp_urls.py": ("NotAnAddress",),
    "common/outbound.py": OUTBOUND,
    "common/outbound_urls.py": OUTBOUND,
    "walletconnect/identity/app_url.py": ("_malformed",),
    "walletconnect/identity/web_host.py": ("ValueError",),
    "walletconnect/notify/config.py": REMOTE,
    "walletconnect/sync/derivation.py": REMOTE,
    "syncstore/services/verify.py": ("CannotVerify",),
    "history/client.py": ("HistoryUnavailable",),
}
# Errors that word themselves.
WORDED = (
    "subscriptions/services/errors.py",
    "syncstore/services/enable.py",
    "identity/services/errors.py",
)
# Constants and arguments that are stored as a reason.
STORED = {
    "common/dapp_documents.py": ("text", "remedy", "KEYS_REMEDY", "TYPES_REMEDY"),
    "castserver/services/notifications/dry_run.py": ("ALSO_NOT_ALLOWED",),
    "castserver/services/notifications/notify.py": (
        "NOT_ALLOWED",
        "TOO_MANY",
        "MALFORMED",
        "BAD_ADDRESS",
        "BAD_CHECKSUM",
        "NOT_FOUND",
        "UNREADABLE",
    ),
    "castserver/services/notifications/recipients.py": ("NO_ACCOUNT", "LONG_LINE"),
    "castserver/services/webhooks/sender.py": ("reason",),
    "subscriptions/services/subscribe/attempts.py": ("NO_ANSWER", "NO_DOCUMENTS"),
    "syncstore/services/apply.py": ("FAR_AHEAD",),
    "syncstore/services/cold_start.py": ("TOO_SLOW", "KEY_MISSING"),
    "identity/services/client.py": ("text",),
    "alerts/services/forwarding.py": ("reason",),
    "alerts/services/webpush.py": ("reason",),
}


def samples(node: ast.expr, constants: dict[str, str]) -> list[str]:
    """The texts that an expression can be, with a 7 for each value; none if unknown."""
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) and node.value else []
    if isinstance(node, ast.Name):
        return [constants[node.id]] if node.id in constants else []
    if isinstance(node, ast.IfExp):
        return samples(node.body, constants) + samples(node.orelse, constants)
    if isinstance(node, ast.BoolOp):
        return [text for each in node.values for text in samples(each, constants)]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        both = samples(node.left, constants), samples(node.right, constants)
        return [left + right for left, right in product(*both)]
    if isinstance(node, ast.JoinedStr):
        parts = [
            part.value
            if isinstance(part, ast.Constant)
            else (samples(part.value, constants) or ["7"])[0]
            for part in node.values
        ]
        # Without words of its own it is another's reason.
        return ["".join(parts)] if re.search("[a-z]{2}", "".join(parts)) else []
    return []


def assigned(
    tree: ast.Module, names: tuple[str, ...] = ()
) -> list[tuple[str, ast.expr]]:
    """Names with the expressions that are assigned to them; all upper-case ones."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            pairs = [(each, node.value) for each in node.targets]
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            pairs = [(node.target, node.value)]
        else:
            continue
        for target, value in pairs:
            if isinstance(target, ast.Name) and (
                target.id in names if names else target.id.isupper()
            ):
                found.append((target.id, value))
    return found


def parsed(path: Path) -> tuple[ast.Module, dict[str, str]]:
    tree = ast.parse(path.read_text())
    constants: dict[str, str] = {}
    for name, value in assigned(tree):
        for text in samples(value, constants):
            constants[name] = text
    return tree, constants


def arguments(tree: ast.Module, names: tuple[str, ...]) -> list[ast.expr]:
    """Arguments of the calls of these names that are raised or made anywhere."""
    return [
        argument
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in names
        for argument in [
            # The arguments before are the kind and the line.
            *node.args[2 if ast.unparse(node.func) == "report.refuse" else 0 :],
            *(each.value for each in node.keywords if each.arg == "error"),
        ]
    ]


def reasons() -> set[tuple[str, str]]:
    found = set()
    imported = parsed(BASE / "castserver/services/notifications/notify.py")[1]
    for place, names in RAISED.items():
        path = BASE / place
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            tree, constants = parsed(file)
            for argument in arguments(tree, names):
                known = imported | constants
                found |= {(file.name, each) for each in samples(argument, known)}
    for place in WORDED:
        tree, constants = parsed(BASE / place)
        for argument in arguments(tree, ("super().__init__",)):
            found |= {(place, each) for each in samples(argument, constants)}
    tree, constants = parsed(BASE / "castserver/services/webhooks/sender.py")
    for argument in arguments(tree, ("_disable",)):
        found |= {("_disable", each) for each in samples(argument, constants)}
    for place, names in STORED.items():
        tree, constants = parsed(BASE / place)
        for _, value in assigned(tree, names):
            found |= {(place, each) for each in samples(value, constants)}
    return found


def test_every_reason_that_pages_show_has_a_template():
    found = reasons()
    assert len(found) > 110
    without = {each for each in found if template_of(each[1]) is None}
    assert without == set()


def test_services_leave_translating_to_the_pages():
    """Their reasons are stored, and sent by the APIs, in one language."""
    files = [*BASE.glob("*/services.py"), *BASE.glob("*/services/**/*.py")]
    assert len(files) > 100
    imported = re.compile(r"import .*\bgettext\b")
    assert [each for each in files if imported.search(each.read_text())] == []


def test_reasons_within_a_reason_are_translated_and_unknown_ones_stay():
    reason = "That address is not reached: the host is not on the public Internet."
    assert translate_reason(reason) == reason
    with translation.override("de"):
        assert translate_reason(reason) == (
            "Diese Adresse wird nicht aufgerufen: der Host ist nicht im öffentlichen Internet."
        )
        assert sentence("the project offers no type a: b%(s)s") == (
            "Das Projekt bietet keinen Typ a: b%(s)s an."
        )
        assert translate_reason("go away") == "go away"
    assert sentence("one") == sentence("one.") == "One."


# --- forms --------------------------------------------------------------------------------

ERRORS = re.compile(
    r'<p class="error"[^>]*>.*?</p>|<(?:p|div|section) class="banner banner--danger".*?</(?:p|div|section)>',
    re.DOTALL,
)
LONG = "x" * 300
PROJECT = {"name": "Other", "types": "news: News", "description": "", "url": ""}
SENT = {"type": "alerts", "title": "a", "body": "b", "audience": "me", "once": "k"}
TEMPLATE = {"name": "n", "type": "alerts", "title": "a", "body": "b"}
WRONG = [
    *[
        ("/console/project/new", PROJECT | wrong)
        for wrong in (
            {"name": ""},
            {"name": LONG},
            {"description": "a\nb"},
            {"types": ":"},
            {"types": "a b: no"},
            {"types": "a: 1\na: 2"},
            {"types": "a | A | B | ftp://x"},
            {"url": "nonsense"},
            {"url": "https://a b.example"},
            {"url": "https://x.example/../y"},
        )
    ],
    ("/console/lumen/types", {"types": "a" * 40 + ": long"}),
    ("/console/lumen/settings", {"name": "Lumen", "icon": "ftp://x.example/a.png"}),
    ("/console/lumen/settings", {"name": "Lumen", "icon": "https://x example"}),
    ("/console/lumen/domain", {"where": "own", "url": "https://no_host"}),
    *[
        ("/console/lumen/send", SENT | wrong)
        for wrong in (
            {"title": ""},
            {"title": "{{ A }}"},
            {"url": "javascript:alert(1)"},
            {"url": "https://user@x.example"},
            {"audience": "accounts", "accounts": "nobody"},
            {"act": "schedule", "at": "2001-01-01T10:00", "time_zone": "Europe/Berlin"},
            {"act": "schedule", "at": "2050-01-01T10:00", "time_zone": "Europe/Berlin"},
            {"act": "schedule", "at": "2050-01-01T10:00", "time_zone": "Nowhere/City"},
            {"act": "schedule", "at": "tomorrow", "time_zone": "UTC"},
        )
    ],
    ("/console/lumen/templates/new", TEMPLATE | {"name": ""}),
    ("/console/lumen/templates/new", TEMPLATE | {"title": "{{ B }}"}),
    ("/console/lumen/templates/new", TEMPLATE | {"url": "ftp://x"}),
    ("/console/lumen/webhooks", {"url": "http://10.0.0.1/", "events": "subscribed"}),
    ("/console/lumen/webhooks", {"url": "nonsense", "events": "subscribed"}),
    ("/console/lumen/webhooks", {"url": "https://x.example/"}),
    ("/signin/begin", {"address": "0x12", "signer": "elsewhere", "next": "/inbox"}),
    (
        "/settings/alerts/quiet",
        {"quiet": "on", "from": "x", "until": "y", "zone": "UTC"},
    ),
    ("/settings/alerts/quiet", {"from": "22:00", "until": "7:00", "zone": "No/Where"}),
    ("/settings/alerts/forwards", {"kind": "webhook", "url": "https://10.0.0.1/"}),
    ("/settings/alerts/forwards", {"kind": "x", "url": "https://x.example/"}),
    ("/settings/alerts/forwards", {"kind": "webhook", "url": "ftp://x.example/"}),
    ("/settings/alerts/push", {"subscription": "{}"}),
    ("/discover/dapp?url=nonsense", None),
    ("/discover/dapp?url=https://a b.example", None),
    ("/discover/subscribe", {"url": "https://x.example"}),
    ("/devices/link", {"code": "AAAA-AAAA"}),
    ("/devices/key", {"request": "nonsense"}),
    ("/inbox/filters", {"name": "", "list": "tab=all&q=x"}),
]


@pytest.fixture
def lumen(alice):
    types = [TypeDraft("alerts", "Urgent"), TypeDraft("news", "News")]
    return create_project("Lumen", url=None, types=types, owner=alice.user)[0]


def errors_of(person, path: str, fields: dict[str, str] | None, language: str):
    headers = {"Accept-Language": language}
    if fields is None:
        answer = person.browser.get(path, **headers)
    else:
        person.browser.get("/settings")
        answer = person.browser.post(path, headers=headers, **fields)
    while answer.status_code in (301, 302):
        answer = person.browser.get(answer.headers["Location"], **headers)
    found = [re.sub(r"<[^>]*>", " ", each) for each in ERRORS.findall(answer.text)]
    texts = [" ".join(html.unescape(each).split()) for each in found]
    return [each for each in texts if each]


def test_no_form_shows_an_english_error_on_a_german_page(alice, lumen):
    faults = []
    for path, fields in WRONG:
        english = errors_of(alice, path, fields, "en")
        german = errors_of(alice, path, fields, "de")
        if not english or len(english) != len(german) or set(english) & set(german):
            faults.append((path, fields, english, german))
    assert not faults, "\n".join(map(str, faults))


def test_stored_reasons_are_shown_in_german(alice, dapp):
    reason = "did.json: the host name cannot be resolved"
    attempt = SubscribeAttempt.objects.create(
        account=alice.account,
        device=alice.device,
        dapp_url=dapp.url,
        state="rejected",
        reason=reason,
        created_at=alice.device.created_at,
        expires_at=alice.device.created_at,
    )
    path = f"/subscriptions/attempt/{attempt.pk}"
    assert reason in alice.get(path).text
    page = alice.get(path, **{"Accept-Language": "de"})
    assert "did.json: der Hostname kann nicht aufgelöst werden" in page.text
    assert not DappDocument.objects.filter(reason=reason).exists()
