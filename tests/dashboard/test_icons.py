"""Icons of dapps and notifications: fetched by a worker, redrawn, served from here."""

from __future__ import annotations

import io
import re
import struct
import threading
import time
import zlib
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image, PngImagePlugin

from accounts.services import remove_account
from castserver.services.projects.projects import TypeDraft, create_project
from common import clock
from subscriptions.models import Icon, NotifyMessageRecord
from subscriptions.services.dapps import icons
from subscriptions.services.dapps.icons import WantedIcon, fetch_icons, want_icons
from tests.subscriptions.conftest import requested
from tests.subscriptions.conftest import subscribed as subscribe_at

SECRET = b"Berlin 52.5N"


def picture(
    kind: str = "PNG", size: tuple[int, int] = (300, 200), **options: object
) -> bytes:
    made = io.BytesIO()
    Image.new("RGB", size, (200, 30, 60)).save(made, kind, **options)
    return made.getvalue()


def with_metadata(kind: str) -> bytes:
    exif = Image.Exif()
    exif[0x010E] = SECRET.decode()  # ImageDescription
    if kind == "PNG":
        texts = PngImagePlugin.PngInfo()
        texts.add_text("Comment", SECRET.decode())
        return picture(kind, exif=exif, pnginfo=texts)
    return picture(kind, exif=exif) if kind != "GIF" else picture(kind, comment=SECRET)


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few kilobytes that unfolds to ``width`` times ``height`` pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        content = name + data
        return (
            struct.pack(">I", len(data))
            + content
            + struct.pack(">I", zlib.crc32(content))
        )

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((width // 8 + 1) * min(height, 20_000)), 9)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", rows)
        + chunk(b"IEND", b"")
    )


def with_text_bomb() -> bytes:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("x", "a" * 50_000_000, zip=True)
    return picture(pnginfo=texts)


class Site(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        status, body, headers = self.server.answers.get(self.path, (404, b"", {}))
        if status is None:
            self.server.release.wait(20)
            return
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def site(settings):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    server.asked, server.answers, server.release = [], {}, threading.Event()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    settings.OUTBOUND_ALLOW = ["127.0.0.1", "localhost"]
    yield server
    server.release.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def serve(site):
    """``serve(content)``: the address at which the content is."""

    def serve(content: bytes, status: int | None = 200, **headers: str) -> str:
        path = f"/icon-{len(site.answers)}"
        site.answers[path] = (status, content, headers)
        return f"http://127.0.0.1:{site.server_port}{path}"

    return serve


def want(url: str, *, account=None, dapp: str = "https://acme.example") -> Icon:
    want_icons([WantedIcon(url, dapp, account)])
    return Icon.objects.get(url=url)


def fetched(url: str, **more) -> Icon:
    icon = want(url, **more)
    fetch_icons()
    icon.refresh_from_db()
    return icon


def shown(page) -> list[str]:
    return re.findall(r'<img class="tile[^>]* src="([^"]+)"', page.text)


# --- from the notification to the page --------------------------------------------------


def test_a_notification_shows_its_icon_or_that_of_its_dapp(
    alice, dapp, subscription, notify, serve
):
    own, of_dapp = serve(picture()), serve(picture("JPEG", (64, 64)))
    subscription.metadata["icons"] = [of_dapp]
    subscription.save()
    with_icon, without = notify(icon=own), notify()
    assert shown(alice.get("/inbox")) == []
    fetch_icons()
    digests = Icon.objects.digests([own, of_dapp])
    assert len(set(digests.values())) == 2
    paths = [f"/icons/{digests[url]}" for url in (of_dapp, own)]
    assert shown(alice.get("/inbox")) == paths
    assert shown(alice.get(f"/inbox/{with_icon.pk}/actions")) == [paths[1]]
    assert shown(alice.get(f"/inbox/{without.pk}"))[-1] == paths[0]
    assert shown(alice.get("/subscriptions")) == [paths[0]]
    assert shown(alice.get(f"/subscriptions/{subscription.topic}"))[0] == paths[0]


def test_the_icon_of_a_document_is_shown_before_anything_arrives(alice, dapp, serve):
    dapp.config["icons"] = [serve(picture())]
    subscribe_at(alice, dapp)
    fetch_icons()
    page = alice.get("/discover")
    (path,) = shown(page)
    assert path.startswith("/icons/")
    assert dapp.config["icons"][0] not in page.text


@pytest.mark.parametrize("metadata", [{}, {"name": "Acme DAO"}])
def test_the_row_of_an_attempt_shows_the_icon_of_its_dapp(alice, dapp, serve, metadata):
    dapp.config["icons"] = [serve(picture())]
    attempt = requested(alice, dapp)
    attempt.metadata = metadata
    attempt.save()
    page = alice.get("/subscriptions")
    assert (shown(page), "Acme DAO" in page.text) == ([], True)
    fetch_icons()
    icon = Icon.objects.get(url=dapp.config["icons"][0])
    assert shown(alice.get("/subscriptions")) == [f"/icons/{icon.digest}"]


def test_the_console_shows_the_icon_that_its_owner_enters(alice, stranger, serve):
    url = serve(picture())
    create_project(
        "Lumen", url=None, types=[TypeDraft("news", "News")], owner=alice.user
    )
    alice.get("/console/lumen/settings")
    alice.post("/console/lumen/settings", name="Lumen", description="", icon=url)
    fetch_icons()
    path = f"/icons/{Icon.objects.get(url=url).digest}"
    for page in ("/console", "/console/lumen/send", "/console/lumen/welcome"):
        assert shown(alice.get(page)) == [path], page
    assert shown(alice.get("/dapps/lumen")) == [path]
    # Pictures are served to members only.
    assert shown(stranger.get("/dapps/lumen")) == []


def test_a_picture_is_kept_by_the_browser_for_good(alice, stranger, serve):
    icon = fetched(serve(picture()))
    assert stranger.get(f"/icons/{icon.digest}").status_code == 302
    response = alice.browser.client.get(f"/icons/{icon.digest}")
    assert response["Content-Type"] == "image/webp"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert {"immutable", "private"} <= set(response["Cache-Control"].split(", "))
    with Image.open(io.BytesIO(response.content)) as found:
        assert (found.format, found.size) == ("WEBP", (icons.SIDE, icons.SIDE))
    for unknown in ("0" * 32, "x", "%20"):
        assert alice.browser.client.get(f"/icons/{unknown}").status_code == 404


def test_no_page_names_the_address_of_an_icon(alice, subscription, notify, serve):
    url = serve(picture())
    record = notify(icon=url)
    fetch_icons()
    for path in ("/inbox", f"/inbox/{record.pk}"):
        page = alice.get(path)
        sources = re.findall(r'(?:src|srcset|data-src)="([^"]*)"', page.text)
        assert all(each.startswith("/") for each in sources)
        policy = page.headers["Content-Security-Policy"]
        assert "img-src 'self' data:;" in f"{policy};"


# --- pictures ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
def test_formats_are_redrawn_without_metadata(serve, kind):
    content = with_metadata(kind)
    assert SECRET in content
    # The type that the server names does not matter.
    icon = fetched(serve(content, **{"Content-Type": "text/html"}))
    drawn = bytes(icon.picture)
    assert SECRET not in drawn
    assert b"EXIF" not in drawn
    assert len(drawn) < 8_192
    with Image.open(io.BytesIO(drawn)) as found:
        red, green, _, opaque = found.convert("RGBA").getpixel((48, 48))
        assert (red > 150, green < 90, opaque) == (True, True, 255)
        # Not a square, so that the rest stays transparent.
        assert found.convert("RGBA").getpixel((48, 2))[3] == 0


def test_a_photograph_is_turned_as_its_camera_said():
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    drawn = icons.redraw(picture("JPEG", (400, 100), exif=exif))
    with Image.open(io.BytesIO(drawn)) as found:
        assert found.convert("RGBA").getpixel((48, 4))[3] > 0
        assert found.convert("RGBA").getpixel((4, 48))[3] == 0


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        b"<html>not found</html>",
        b"\x89PNG\r\n\x1a\n" + bytes(40),
        picture()[:80],
        picture("JPEG")[:200],
        picture("ICO", (32, 32)),
        picture("TIFF"),
        bomb(30_000, 30_000),
        bomb(2_001, 2_000),
        bomb(1, 2**31 - 1),
        with_text_bomb(),
    ],
    ids=[
        "empty",
        "svg",
        "html",
        "broken",
        "truncated",
        "truncated-jpeg",
        "ico",
        "tiff",
        "bomb",
        "large",
        "tall",
        "text",
    ],
)
def test_what_is_no_picture_of_ours_gets_the_letter_tile(alice, notify, serve, content):
    good = serve(picture())
    url = serve(content)
    notify(title="Bad", icon=url)
    notify(title="Good", icon=good)
    started = time.process_time()
    fetch_icons()
    assert time.process_time() - started < 2
    icon = Icon.objects.get(url=url)
    assert (icon.digest, icon.next_attempt_at, icon.reason) == ("", None, "")
    assert icon.problem
    page = alice.get("/inbox")
    assert shown(page) == [f"/icons/{Icon.objects.get(url=good).digest}"]
    assert page.text.count('<span class="tile"') == 1


# --- hosts ------------------------------------------------------------------------------


def test_a_redirect_is_not_followed(site, serve):
    inward = serve(picture())
    icon = fetched(serve(b"", 302, Location=inward))
    assert icon.problem == "the answer is 302"
    assert len(site.asked) == 1


@pytest.mark.parametrize(
    "url",
    [
        "https://10.0.0.1/icon.png",
        "https://metadata.internal/icon.png",
        "http://acme.example/icon.png",
        "file:///etc/passwd",
        "data:image/png;base64,iVBORw0KGgo=",
        "https://user@acme.example/icon.png",
        "https://acme.example/" + "x" * 600,
        "not a url",
    ],
)
def test_addresses_that_are_never_fetched_are_not_stored(alice, notify, url):
    if len(url) < 255:
        notify(icon=url)
    want_icons([WantedIcon(url, "https://acme.example", None)])
    assert not Icon.objects.exists()


def test_a_name_that_leads_inward_is_refused_for_good(settings, site, monkeypatch):
    settings.OUTBOUND_ALLOW = []
    answer = [(2, 1, 6, "", ("127.0.0.1", site.server_port))]
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: answer)
    icon = fetched("https://icons.example/a.png")
    assert "public" in icon.problem
    assert icon.next_attempt_at is None
    assert site.asked == []


def test_a_large_answer_is_refused(settings, serve):
    icon = fetched(serve(picture() + bytes(settings.LIMITS.icon_bytes)))
    assert "longer than" in icon.problem


def test_a_failing_host_is_asked_again_with_pauses_and_then_left(serve, monkeypatch):
    url = serve(b"", 503)
    icon = fetched(url)
    pauses = []
    while icon.next_attempt_at is not None:
        pauses.append((icon.next_attempt_at - clock.now()).total_seconds())
        Icon.objects.update(next_attempt_at=clock.now())
        fetch_icons()
        icon.refresh_from_db()
    assert len(pauses) == 3
    assert pauses == sorted(pauses)
    assert icon.problem == "the answer is 503"
    # A day later it is wanted again, and the first attempt of a new series.
    Icon.objects.update(expires_at=clock.now())
    want(url)
    icon.refresh_from_db()
    assert (icon.attempts, icon.next_attempt_at is not None) == (0, True)


def test_a_picture_stays_until_there_is_another(site, serve):
    url = serve(picture())
    path = url[url.rindex("/") :]
    digest = fetched(url).digest
    for answer, kept in (
        ((503, b"", {}), True),
        ((200, picture("PNG", (20, 20)), {}), False),
    ):
        site.answers[path] = answer
        Icon.objects.update(expires_at=clock.now(), next_attempt_at=None)
        icon = fetched(url)
        assert (icon.digest == digest) is kept
        assert icon.digest


def test_slow_hosts_hold_only_their_own_slots(settings, site, serve, alice):
    limits = settings.LIMITS
    slow = [serve(b"", None) for _ in range(10)]
    good = serve(picture()).replace("127.0.0.1", "localhost")
    want_icons(
        WantedIcon(url, "https://slow.example", alice.account.pk) for url in slow
    )
    want_icons([WantedIcon(good, "https://acme.example", None)])
    worker = threading.Thread(target=site.release.wait)
    worker.start()
    claimed = icons._claim(limits.icon_fetches)
    assert {each.url for each in claimed} >= {good}
    assert len(claimed) == limits.icon_fetches_per_host + 1
    assert icons._claim(limits.icon_fetches) == []
    site.release.set()
    worker.join()


# --- limits -----------------------------------------------------------------------------


def numbered(number: int, host: str = "127.0.0.1") -> str:
    return f"http://{host}/{number}.png"


def test_a_dapp_that_names_many_icons_pushes_out_its_own(site, settings, alice, bob):
    limits = settings.LIMITS
    account = alice.account.pk
    want(numbered(0, "localhost"), account=account, dapp="https://quiet.example")
    for number in range(limits.icons_per_dapp + 5):
        want_icons([WantedIcon(numbered(number), "https://loud.example", account)])
        Icon.objects.update(wanted_at=clock.now() - timedelta(minutes=1))
    want_icons([WantedIcon(numbered(0), "https://loud.example", bob.account.pk)])
    own = Icon.objects.filter(account=alice.account)
    kept = set(own.values_list("url", flat=True))
    assert len(kept) == limits.icons_per_dapp + 1
    assert numbered(0, "localhost") in kept
    assert numbered(limits.icons_per_dapp + 4) in kept
    assert Icon.objects.filter(account=bob.account).count() == 1


def test_accounts_and_the_server_keep_a_limited_number(site, settings, alice):
    import dataclasses

    settings.LIMITS = dataclasses.replace(
        settings.LIMITS, icons_per_account=3, icons_in_all=5
    )
    for number in range(6):
        want_icons(
            [
                WantedIcon(
                    numbered(number), f"https://{number}.example", alice.account.pk
                )
            ]
        )
    assert Icon.objects.filter(account=alice.account).count() == 3
    for number in range(10, 16):
        want_icons([WantedIcon(numbered(number), "https://acme.example", None)])
    assert Icon.objects.count() == 5


def test_an_icon_is_fetched_once_for_all_and_marked_once_a_day(
    site, serve, alice, notify
):
    url = serve(picture())
    notify(icon=url)
    fetch_icons()
    then = Icon.objects.get().wanted_at
    notify(icon=url)
    fetch_icons()
    assert Icon.objects.get().wanted_at == then
    assert len(site.asked) == 1
    Icon.objects.update(wanted_at=then - timedelta(days=2))
    notify(icon=url)
    assert Icon.objects.get().wanted_at > then - timedelta(days=1)


def test_icons_are_forgotten_with_time_and_with_their_account(serve, alice, notify):
    notify(icon=serve(picture()))
    want(serve(picture()))
    assert Icon.objects.count() == 2
    remove_account(alice.account, by=None)
    assert Icon.objects.get().account is None
    Icon.objects.update(wanted_at=clock.now() - icons.KEPT_FOR - timedelta(minutes=1))
    assert icons.prune_icons() == 1
    assert NotifyMessageRecord.objects.count() == 0
