"""Rules for all pages: no inline code, one heading, labelled fields, vendored files."""

from __future__ import annotations

import gzip
import hashlib
import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest
from django.conf import settings
from django.http import HttpRequest
from django.urls import URLResolver, get_resolver, reverse

from castserver.services.projects.projects import TypeDraft, create_project
from common.problems import Problem
from dashboard.formatting import format_day, format_time
from dashboard.templatetags import look
from notifyweb.error_pages import error_page
from tests.browser import every_page
from tests.dashboard.test_access import SOME

STATIC = Path(settings.BASE_DIR) / "static"
PAGES = [
    "/",
    "/signin",
    "/problems",
    "/problems/insufficient-scope",
    "/inbox",
    "/inbox?tab=all",
    "/subscriptions",
    "/discover",
    "/devices",
    "/devices/link",
    "/devices/key",
    "/signin/phone",
    "/signin/phone/end",
    "/sync",
    "/settings",
    "/settings/data",
    "/console",
    "/console/project/new",
    "/console/lumen",
    "/console/lumen/domain",
    "/console/lumen/send",
    "/console/lumen/sent",
    "/console/lumen/lists",
    "/console/lumen/templates",
    "/console/lumen/templates/new",
    "/console/lumen/welcome",
    "/console/lumen/keys",
    "/console/lumen/webhooks",
    "/console/lumen/types",
    "/console/lumen/keys/replace",
    "/console/lumen/members",
    "/invitation/unknown",
    "/console/lumen/subscribers",
    "/console/lumen/settings",
    "/offline",
    "/nowhere",
    "/inbox?q=%00",
    "/signin/begin",
]
VOID = {"meta", "link", "input", "br", "hr", "img", "wbr"}
FOREIGN = {"path", "rect", "circle", "line", "polyline", "polygon", "ellipse"}


class Page(HTMLParser):
    """Collects headings, landmarks, fields and ids."""

    def __init__(self) -> None:
        super().__init__()
        self.faults: list[str] = []
        self.headings: list[str] = []
        self.ids: list[str] = []
        self.fields: list[dict] = []
        self.labelled: set[str] = set()
        self.open: list[str] = []
        self.landmarks: list[str] = []

    def handle_starttag(self, tag: str, attributes: list) -> None:
        found = dict(attributes)
        self.faults += [
            f"{tag} {name}"
            for name in found
            if name == "style" or name.startswith("on")
        ]
        if tag == "style" or (tag == "script" and "src" not in found):
            self.faults.append(f"inline {tag}")
        for name in ("src", "href", "action"):
            if str(found.get(name, "")).startswith(("http://cdn", "//", "javascript:")):
                self.faults.append(f"{tag} {name}={found[name]}")
        if tag in {"h1", "h2"}:
            self.headings.append(tag)
        if tag in {"main", "header", "nav"}:
            self.landmarks.append(tag)
        if "id" in found:
            self.ids.append(found["id"])
        if tag == "label" and "for" in found:
            self.labelled.add(found["for"])
        if tag in {"input", "select", "textarea"} and found.get("type") != "hidden":
            inside = "label" in self.open
            self.fields.append(found | {"inside": inside})
        if tag not in VOID | FOREIGN:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in VOID | FOREIGN:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID | FOREIGN:
            return
        if not self.open or self.open[-1] != tag:
            self.faults.append(f"</{tag}> closes {self.open[-1:]}")
        else:
            self.open.pop()


@pytest.fixture
def visitor(alice, notify):
    create_project("Lumen", types=[TypeDraft("news", "News")], owner=alice.user)
    notify()
    return alice


def test_every_page_keeps_the_rules(visitor):
    for path in PAGES:
        page = Page()
        page.feed(visitor.get(path).text)
        assert not page.faults, (path, page.faults)
        assert page.headings.count("h1") == 1, path
        assert "main" in page.landmarks, path
        assert len(page.ids) == len(set(page.ids)), (path, page.ids)
        unnamed = [
            each
            for each in page.fields
            if not (
                each["inside"]
                or each.get("aria-label")
                or each.get("id") in page.labelled
                or "hidden" in each
            )
        ]
        # The hidden form that scripts fill in has no labels and is never shown.
        assert [
            e for e in unnamed if e.get("name") not in {"address", "signer", "wallet"}
        ] == []


def test_the_content_security_policy_forbids_inline_code_and_other_hosts(visitor):
    policy = visitor.get("/inbox").headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "style-src 'self'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy


def test_pages_load_nothing_from_elsewhere(visitor):
    for path in PAGES:
        text = visitor.get(path).text
        assert not re.findall(
            r'<(?:script|link|img)[^>]+(?:src|href)="(?:https?:)?//', text
        )


@pytest.mark.parametrize("status", [400, 403, 404, 405, 408, 409, 413, 429, 500, 503])
def test_error_pages_need_no_scripts_and_no_database(status):
    page = Page()
    text = error_page(HttpRequest(), Problem("http", "Fault", status, "It failed."))
    page.feed(text)
    assert not page.faults
    assert "<script" not in text
    assert page.headings.count("h1") == 1


def test_vendored_files_match_their_checksums():
    sums = (STATIC / "vendor" / "SHA256SUMS").read_text().splitlines()
    assert sums
    for line in sums:
        digest, name = line.split()
        content = (STATIC / "vendor" / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == digest, name


def test_every_vendored_file_has_a_licence_and_is_documented():
    page = (STATIC / "vendor" / "README.md").read_text()
    for path in (STATIC / "vendor").glob("*.js"):
        assert path.name in page
        assert (STATIC / "vendor" / f"{path.name.partition('.')[0]}.LICENSE").exists()


def test_scripts_follow_the_content_security_policy():
    for path in (STATIC / "js").glob("*.js"):
        text = path.read_text()
        assert not re.search(
            r"\beval\(|new Function|\.setAttribute\(.style|https?://", text
        ), path


def test_styles_and_scripts_stay_small():
    def transferred(paths) -> int:
        return sum(len(gzip.compress(path.read_bytes())) for path in paths)

    scripts = [*(STATIC / "js").glob("*.js"), STATIC / "vendor" / "htmx.min.js"]
    assert transferred((STATIC / "css").glob("*.css")) < 25_000
    assert transferred(scripts) < 60_000


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "just now"),
        (59, "just now"),
        (60, "1 min ago"),
        (3599, "59 min ago"),
        (3600, "1 h ago"),
        (86399, "23 h ago"),
        (86400, "14 Jun"),
        (400 * 86400, "11 May 2024"),
        (-120, "in 2 min"),
        (-7200, "in 2 h"),
    ],
)
def test_times_are_formatted(seconds, text):
    now = datetime(2025, 6, 15, 12, tzinfo=UTC)
    assert format_time(now - timedelta(seconds=seconds), "ago", now=now) == text


def test_days_are_formatted():
    now = datetime(2025, 6, 15, 12, tzinfo=UTC)
    texts = [format_day(now - timedelta(days=n), now=now) for n in (0, 1, 2, 300)]
    assert texts == ["Today", "Yesterday", "Friday, 13 June", "19 August 2024"]


def test_an_identicon_ignores_the_case_of_the_address():
    address = "0x52908400098527886E0F7030069857D2E4169EE7"
    assert look.identicon(address, 20) == look.identicon(address.lower(), 20)
    assert look.identicon(address, 20) == look.identicon(f"eip155:1:{address}", 20)
    assert look.identicon(address, 20) != look.identicon("0x" + "0" * 40, 20)


def test_a_tile_of_a_strange_name_is_text():
    assert "&lt;" in look.tile("<script>")
    assert ">?<" in look.tile("   ")


def routes(patterns=None, space=""):
    """Name and callback of each route of ours, the admin's and the APIs' excepted."""
    for pattern in patterns or get_resolver().url_patterns:
        if isinstance(pattern, URLResolver):
            if pattern.namespace not in {"admin", "identity", "history"}:
                yield from routes(pattern.url_patterns, pattern.namespace or space)
        elif space in {"dashboard", "operations"} or pattern.name == "openapi-view":
            yield f"{space}:{pattern.name}", pattern


def test_every_page_is_in_the_list_of_those_that_are_photographed(alice, settings):
    """``every_page.PAGES``, from which ``make screenshots`` follows."""
    listed = every_page.PAGES.keys() | every_page.FILES | every_page.UNMADE
    settings.DEMO = True
    alice.user.is_staff = True
    alice.user.save()
    found = dict(routes())
    missing = []
    for name, pattern in found.items():
        names = {
            each: (SOME | {"act": "retry"})[each] for each in pattern.pattern.converters
        }
        response = alice.get(reverse(name, kwargs=names))
        # Of what accepts forms only there is no page.
        if response.status_code != 405 and name not in listed:
            missing.append(name)
    assert missing == []
    assert found.keys() >= listed
