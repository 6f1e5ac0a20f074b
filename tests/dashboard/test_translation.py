"""The German translation is complete and compiled, and pages use it."""

from __future__ import annotations

import ast
import gettext as gnu
import io
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from babel.messages.extract import extract
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from django.conf import settings
from django.template.loader import render_to_string
from django.utils import translation
from django.utils.translation.template import templatize

from accounts import services as accounts
from dashboard import live
from dashboard.formatting import format_time
from tests.dashboard.test_look import PAGES

BASE = Path(settings.BASE_DIR)
LOCALE = BASE / "locale" / "de" / "LC_MESSAGES"
PACKAGES = (
    "alerts",
    "preferences",
    "portability",
    "dashboard",
    "subscriptions",
    "castserver",
    "accounts",
    "identity",
    "syncstore",
    "common",
    "notifyweb",
)
KEYWORDS = {
    "_": None,
    "gettext": None,
    "gettext_lazy": None,
    "gettext_noop": None,
    "ngettext": (1, 2),
    "ngettext_lazy": (1, 2),
    "pgettext": ((1, "c"), 2),
    "npgettext": ((1, "c"), 2, 3),
}


def extracted(method: str, sources: dict[Path, str]) -> set[tuple[str | None, str]]:
    """Context and (singular) msgid of every marked text."""
    found = set()
    for text in sources.values():
        lines = io.BytesIO(text.encode())
        for _, message, _, context in extract(method, lines, KEYWORDS):
            found.add((context, message[0] if isinstance(message, tuple) else message))
    return found


def python_texts() -> set[tuple[str | None, str]]:
    files = [path for name in PACKAGES for path in (BASE / name).rglob("*.py")]
    return extracted("python", {path: path.read_text() for path in files})


def template_texts() -> set[tuple[str | None, str]]:
    literal = r"""u?(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
    call = re.compile(rf"(?:\bn?gettext|(?<!\w)_)\(({literal})")
    return {
        (None, ast.literal_eval(found))
        for path in (BASE / "templates").rglob("*.html")
        # makemessages converts templates with the same function.
        for found in call.findall(templatize(path.read_text(), origin=str(path)))
    }


def script_texts() -> set[tuple[str | None, str]]:
    files = (BASE / "static" / "js").glob("*.js")
    return extracted("javascript", {path: path.read_text() for path in files})


def translated(domain: str) -> set[tuple[str | None, str]]:
    with (LOCALE / f"{domain}.mo").open("rb") as file:
        catalog = gnu.GNUTranslations(file)._catalog
    found = set()
    for key, text in catalog.items():
        msgid = key[0] if isinstance(key, tuple) else key
        context, separator, rest = msgid.rpartition("\x04")
        if text:
            found.add((context if separator else None, rest))
    return found


def test_every_text_of_the_pages_is_translated():
    texts = python_texts() | template_texts()
    assert len(texts) > 500
    assert texts - translated("django") == set()


def test_every_text_of_the_scripts_is_translated():
    texts = script_texts()
    assert len(texts) > 40
    assert texts - translated("djangojs") == set()


@pytest.mark.parametrize("domain", ["django", "djangojs"])
def test_the_compiled_catalog_is_up_to_date(domain):
    with (LOCALE / f"{domain}.po").open("rb") as file:
        source = read_po(file, locale="de")
    assert not [message.id for message in source if message.fuzzy and message.id]
    compiled = io.BytesIO()
    write_mo(compiled, source)
    compiled.seek(0)
    with (LOCALE / f"{domain}.mo").open("rb") as file:
        committed = gnu.GNUTranslations(file)._catalog
    expected = gnu.GNUTranslations(compiled)._catalog
    assert {k: v for k, v in committed.items() if k} == {
        k: v for k, v in expected.items() if k
    }


def test_templates_contain_no_unmarked_text():
    """Text outside of template tags is not translated; only names and symbols may stay."""
    allowed = {"Notifyweb", "Cast Server", "HTTP", "relay", "dapps"}
    tags = r"{% block column_class %}[a-z-]*|{%.*?%}|{{.*?}}|{#.*?#}"
    skipped = (
        r"{%\s*blocktranslate.*?endblocktranslate\s*%}|{%\s*comment.*?endcomment\s*%}"
        r"|<(kbd|code|pre|svg|h3 class=\"small\").*?</(kbd|code|pre|svg|h3)>"
    )
    faults = []
    for path in (BASE / "templates").rglob("*.html"):
        text = re.sub(skipped, "\x00", path.read_text(), flags=re.DOTALL)
        text = re.sub(tags, "\x00", text, flags=re.DOTALL)
        for part in re.findall(r">([^<>]*)<", text, flags=re.DOTALL):
            for piece in re.split("[\x00\n]", part):
                words = piece.strip(" ·,;:()/")
                if re.search("[A-Za-z]{3}", words) and words not in allowed:
                    faults.append((path.name, words))
    assert not faults


def german(person, path: str):
    return person.get(path, **{"Accept-Language": "de-DE,de;q=0.9,en;q=0.5"})


def test_every_page_is_rendered_in_german(alice, notify):
    notify()
    for path in PAGES:
        response = german(alice, path)
        assert '<html lang="de"' in response.text, path
        # Pages of errors have no scripts.
        if "<script" in response.text:
            assert "/texts/de.js" in response.text, path


def test_headings_and_live_rows_are_german(alice, notify):
    head = accounts.head_of(alice.user.pk)
    notify()
    assert "<h1>Posteingang</h1>" in german(alice, "/inbox").text
    cursor = live.Cursor(str(head.generation), head.sequence)
    batch = live.next_batch(alice.user.pk, cursor, zone="UTC", language="de")
    assert "archivieren" in batch.text


def test_the_language_is_chosen_in_the_settings(alice):
    assert '<html lang="en"' in alice.get("/settings").text
    alice.post("/settings/look", language="de", next="/settings")
    page = alice.get("/settings").text
    assert '<html lang="de"' in page
    assert '<option value="de" lang="de" selected>Deutsch</option>' in page
    # The choice in the settings takes precedence over the browser's preference.
    alice.post("/settings/look", language="en", next="/settings")
    assert '<html lang="en"' in german(alice, "/settings").text


def test_an_unknown_language_is_ignored(alice):
    alice.post("/settings/look", language="xx", next="/settings")
    assert '<html lang="en"' in alice.get("/settings").text


def test_scripts_get_their_texts(stranger):
    response = stranger.get("/texts/de.js")
    assert response.headers["Content-Type"].startswith("text/javascript")
    assert "R\\u00fcckg\\u00e4ngig" in response.text
    assert "max-age" in response.headers["Cache-Control"]
    assert stranger.get("/texts/xx.js").status_code == 404


def test_right_to_left_languages_set_the_direction():
    with translation.override("ar"):
        assert ' dir="rtl"' in render_to_string("base.html")
    with translation.override("de"):
        assert " dir=" not in render_to_string("base.html")


def test_times_are_german():
    now = datetime(2025, 6, 15, 12, tzinfo=UTC)
    with translation.override("de"):
        assert format_time(now - timedelta(minutes=5), now=now) == "vor 5 min"
        assert (
            format_time(now - timedelta(days=2), "day", now=now) == "Freitag, 13. Juni"
        )
        assert format_time(now, "full", now=now) == "15. Juni 2025, 12:00"
