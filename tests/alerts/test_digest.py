"""The mail digest against an SMTP server of our own."""

from __future__ import annotations

import email
import re
import socketserver
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from alerts.models import Digest
from alerts.services import digest
from alerts.services.digest import DigestError, next_digest, save_digest
from alerts.services.preferences import mute
from common import clock
from common.limits import Bucket

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_client")]


class Mailbox(socketserver.StreamRequestHandler):
    """Just enough SMTP (RFC 5321) to take a mail."""

    def handle(self):
        self.wfile.write(b"220 here\r\n")
        while line := self.rfile.readline():
            verb = line[:4].upper()
            if verb == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                lines = []
                while (part := self.rfile.readline()) != b".\r\n":
                    lines.append(part)
                self.server.mails.append(email.message_from_bytes(b"".join(lines)))
            elif verb == b"RCPT" and self.server.refuses:
                self.wfile.write(b"451 later\r\n")
                continue
            elif verb == b"QUIT":
                self.wfile.write(b"221 bye\r\n")
                return
            self.wfile.write(b"250 ok\r\n")


@pytest.fixture
def mailbox(settings):
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mailbox)
    server.mails, server.refuses = [], False
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = server.server_address
    settings.EMAIL_USE_TLS = settings.EMAIL_USE_SSL = False
    settings.EMAIL_HOST_USER = settings.EMAIL_HOST_PASSWORD = ""
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def link_in(mail) -> str:
    text = mail.get_payload(decode=True).decode()
    return re.search(r"https?://[^/]+(/digest/\S+)", text).group(1)


@pytest.fixture
def confirmed(alice, mailbox, stranger):
    save_digest(alice.user, email="alice@a.example", frequency="daily", hour=8)
    digest.send_due_digests()
    there = link_in(mailbox.mails.pop())
    stranger.get(there)
    assert "is on" in stranger.post(there).text
    return Digest.objects.get()


def next_day():
    return clock.frozen(clock.now() + timedelta(days=1))


def test_nothing_is_mailed_before_the_address_is_confirmed(
    alice, mailbox, stranger, notify
):
    save_digest(alice.user, email="alice@a.example", frequency="daily", hour=8)
    notify()
    digest.send_due_digests()
    with next_day():
        digest.send_due_digests()
    [mail] = mailbox.mails
    assert mail["To"] == "alice@a.example"
    # A mail scanner opens the link: that is not a confirmation.
    assert stranger.get(link_in(mail)).status_code == 200
    assert Digest.objects.get().confirmed_at is None


def test_unread_notifications_are_mailed_once(alice, confirmed, mailbox, notify):
    notify(title="Vote", body="Round 4 ends <today>")
    read = notify(title="Seen")
    alice.get(f"/inbox/{read.pk}")
    with next_day():
        digest.send_due_digests()
    [mail] = mailbox.mails
    text = mail.get_payload(decode=True).decode()
    assert mail["Subject"] == "1 unread notification"
    assert "Vote: Round 4 ends <today>" in text
    assert "Acme DAO" in text
    assert "Seen" not in text
    with clock.frozen(clock.now() + timedelta(days=2)):
        digest.send_due_digests()
    assert len(mailbox.mails) == 1


def test_muted_dapps_are_left_out(alice, confirmed, mailbox, subscription, notify):
    mute(alice.account, subscription.dapp_url, "", "on")
    notify()
    with next_day():
        digest.send_due_digests()
    assert mailbox.mails == []


def test_the_mail_can_be_stopped_with_one_click(confirmed, mailbox, client, notify):
    notify()
    with next_day():
        digest.send_due_digests()
    [mail] = mailbox.mails
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    path = re.search(r"//[^/]+(/[^>]+)>", mail["List-Unsubscribe"]).group(1)
    client.get(path, headers={"host": "localhost:8000"})
    assert Digest.objects.exists()
    answer = client.post(
        path,
        {"List-Unsubscribe": "One-Click"},
        headers={"host": "localhost:8000"},
    )
    assert answer.status_code == 200
    assert not Digest.objects.exists()


def test_a_mail_server_that_is_away_is_tried_again(confirmed, mailbox, notify):
    notify()
    mailbox.refuses = True
    with next_day():
        digest.send_due_digests()
        row = Digest.objects.get()
        assert row.reason
        assert row.next_attempt_at < clock.now() + timedelta(hours=1)
    mailbox.refuses = False
    with clock.frozen(row.next_attempt_at):
        digest.send_due_digests()
    assert len(mailbox.mails) == 1


def test_another_address_has_to_be_confirmed_again(alice, confirmed, mailbox):
    save_digest(alice.user, email="other@a.example", frequency="daily", hour=8)
    assert Digest.objects.get().confirmed_at is None


@pytest.mark.parametrize(
    "change",
    [
        {"email": "nobody"},
        {"email": "a@b.example\nBcc: c@d.example"},
        {"frequency": "hourly"},
        {"hour": 24},
        {"hour": -1},
    ],
)
def test_what_is_no_digest_is_refused(alice, mailbox, change):
    form = {"email": "alice@a.example", "frequency": "daily", "hour": 8}
    with pytest.raises(DigestError):
        save_digest(alice.user, **form | change)


def test_without_mail_the_page_explains_it(alice, settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
    with pytest.raises(DigestError, match="EMAIL_URL"):
        save_digest(alice.user, email="a@b.example", frequency="daily", hour=8)


@pytest.mark.parametrize("token", ["", "x", "a:b:c", "é"])
def test_a_foreign_link_does_nothing(stranger, token):
    assert stranger.get(f"/digest/confirm/{token or 'x'}").status_code == 404


@pytest.mark.parametrize(
    ("frequency", "zone", "after", "due"),
    [
        ("daily", "UTC", "2026-11-25T07:59", "2026-11-25T08:00"),
        ("daily", "UTC", "2026-11-25T08:00", "2026-11-26T08:00"),
        ("daily", "America/New_York", "2026-11-25T08:00", "2026-11-25T13:00"),
        ("weekly", "UTC", "2026-11-25T08:00", "2026-11-30T08:00"),
        ("weekly", "UTC", "2026-11-30T07:00", "2026-11-30T08:00"),
        # 08:00 in Berlin is an hour earlier in UTC once clocks went forward.
        ("daily", "Europe/Berlin", "2026-03-28T12:00", "2026-03-29T06:00"),
    ],
)
def test_the_next_one_is_due_at_the_local_hour(frequency, zone, after, due):
    def at(text):
        return datetime.fromisoformat(text).replace(tzinfo=UTC)

    assert next_digest(frequency, 8, zone, at(after)) == at(due)


# --- limits -----------------------------------------------------------------------------


def test_a_stranger_gets_a_few_confirmation_mails_however_the_address_is_written(
    alice, charlie, mailbox
):
    same = ["Eve@example.org", "eve+a@example.org", "e.v.e+b@example.org"]
    for address in same:
        save_digest(alice.user, email=address, frequency="daily", hour=8)
        digest.send_due_digests()
    with pytest.raises(DigestError, match="too many mails"):
        save_digest(charlie.user, email="eve+c@EXAMPLE.org", frequency="daily", hour=8)
    digest.send_due_digests()
    assert len(mailbox.mails) == 3
    assert not Digest.objects.filter(user=charlie.user).exists()


def test_one_user_asks_for_a_few_confirmation_mails(alice, charlie, mailbox):
    for number in range(5):
        save_digest(
            alice.user, email=f"a{number}@example.org", frequency="daily", hour=8
        )
    with pytest.raises(DigestError, match="too many mails"):
        save_digest(alice.user, email="a5@example.org", frequency="daily", hour=8)
    save_digest(charlie.user, email="a5@example.org", frequency="daily", hour=8)


def test_one_client_asks_for_a_few_confirmation_mails_as_many_users(
    alice, mailbox, settings
):
    settings.LIMITS = replace(
        settings.LIMITS, digest_confirmation_client=Bucket(1, 0.001)
    )
    alice.get("/settings")
    page = {"frequency": "daily", "hour": "8"}
    alice.post("/settings/alerts/digest", email="b@example.org", **page)
    alice.post("/settings/alerts/digest", email="c@example.org", **page)
    assert Digest.objects.get().email == "b@example.org"


def test_a_confirmed_digest_is_changed_without_a_mail(alice, mailbox):
    save_digest(alice.user, email="a@example.org", frequency="daily", hour=8)
    Digest.objects.update(confirmed_at=clock.now())
    for hour in range(10):
        save_digest(alice.user, email="a@example.org", frequency="daily", hour=hour)
    assert Digest.objects.get().hour == 9
