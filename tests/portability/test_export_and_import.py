"""An account leaves as a file, is removed, and is complete again after an import."""

from __future__ import annotations

import io
import json
import re
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import Account, AccountEvent, AuditEntry
from accounts.services import label_account, remove_account
from alerts.models import AlertSettings, Mute, PushDelivery
from alerts.services.preferences import mute, save_quiet_hours
from common import clock
from keychain.passphrase import WeakPassphrase
from keychain.services import Holder, forget, sym_keys
from messaging.models import OutboxMessage, TopicSubscription
from portability.schemas import ExportFileError
from portability.services.export import export_account, export_csv
from subscriptions.models import NotifyMessageRecord, Subscription
from subscriptions.services import archive, mark_read
from syncstore.models import ColdStart, Store
from tests.people import ALICE, BOB, FIREFOX_MAC
from tests.portability.conftest import (
    PASSPHRASE,
    exported,
    file_of,
    imported,
    values_of,
)
from tests.subscriptions.world import deliver
from walletconnect.crypto.keys import SymKey
from walletconnect.sync.derivation import NOTIFY_SUBSCRIPTION_STORE

if TYPE_CHECKING:
    from pathlib import Path

READ_STATE = ("rpc_id", "title", "read_at", "archived_at", "published_at")


def state_of(account) -> dict:
    """What an export is about, without primary keys."""
    records = NotifyMessageRecord.objects.filter(subscription__account=account)
    subscriptions = Subscription.objects.of(account)
    return {
        "label": account.label,
        "subscriptions": list(
            subscriptions.order_by("topic").values(
                "topic", "metadata", "scope", "expiry", "dapp_url", "deleted_at"
            )
        ),
        "notifications": list(records.order_by("rpc_id").values(*READ_STATE)),
        "mutes": list(
            Mute.objects.filter(account=account).values("dapp_url", "type", "until")
        ),
        "keys": sorted(
            sym_keys(Holder.WALLET, list(subscriptions.values_list("topic", flat=True)))
        ),
        "stores": list(Store.objects.filter(account=account).values("name", "topic")),
    }


@pytest.fixture
def rich(alice, subscription, notify):
    """Alice with everything that an export contains."""
    first, second, _ = (notify(title=text) for text in ("One", "Two", "Three 🙂"))
    mark_read([first], alice.device)
    archive([second], alice.device)
    mute(alice.account, subscription.dapp_url, "news", "7d")
    save_quiet_hours(
        alice.user, start="22:00", end="07:00", weekends=True, time_zone="Europe/Berlin"
    )
    label_account(alice.account, "Savings")
    alice.account.refresh_from_db()
    return alice


def removed_and_back(person):
    """The account as a new one of the same wallet, on a server without its data."""
    from tests.dashboard.conftest import Browser

    remove_account(Account.objects.get(pk=person.account.pk), by=None)
    person.browsers[:] = [Browser(FIREFOX_MAC).sign_in(person.wallet)]
    return person.wallet.row()


def test_an_account_is_complete_after_removal_and_import(rich, dapp):
    before, content = state_of(rich.account), exported(rich.account)
    account = removed_and_back(rich)
    assert not Subscription.objects.of(account).exists()

    report = imported(content, account)

    assert report.refused == []
    account.refresh_from_db()
    assert state_of(account) == before
    quiet = AlertSettings.objects.get(user=account.user)
    assert (quiet.quiet_from.hour, quiet.quiet_weekends) == (22, True)
    assert quiet.time_zone == "Europe/Berlin"
    row = Subscription.objects.of(account).get()
    topic = TopicSubscription.objects.get(topic=row.topic, party="wallet")
    assert topic.state == "wanted", "the gateway subscribes to the topic again"
    # The key decrypts what arrives from now on.
    key = dapp.keys[rich.wallet.account]
    (arrived,) = deliver(dapp.notification(account, title="After", sym_key=key))
    assert arrived.state == "handled", arrived.reason
    assert row.messages.get(title="After").read_at is None
    assert AuditEntry.objects.filter(action="account.imported").count() == 1


def test_a_second_import_changes_nothing(rich):
    content = exported(rich.account)
    account = removed_and_back(rich)
    imported(content, account)
    account.refresh_from_db()
    before = (
        state_of(account),
        AccountEvent.objects.count(),
        OutboxMessage.objects.count(),
    )
    again = imported(content, account)
    assert again.changes == 0
    assert again.refused_count == 0
    assert again.counts["notifications"].present == 3
    account.refresh_from_db()
    assert before == (
        state_of(account),
        AccountEvent.objects.count(),
        OutboxMessage.objects.count(),
    )


def test_a_preview_counts_and_changes_nothing(rich):
    content = exported(rich.account)
    account = removed_and_back(rich)
    before = state_of(account)
    preview = imported(content, account, dry_run=True)
    assert state_of(account) == before
    assert not AuditEntry.objects.filter(action="account.imported").exists()
    assert preview.counts["notifications"].new == 3
    assert imported(content, account).to_value() == preview.to_value()


def test_an_import_fills_in_and_replaces_nothing(rich, notify):
    content = exported(rich.account)
    newer = notify(title="After the export")
    unread = NotifyMessageRecord.objects.get(title="One")
    NotifyMessageRecord.objects.filter(pk=unread.pk).update(read_at=None)
    NotifyMessageRecord.objects.filter(title="Two").delete()
    label_account(rich.account, "Renamed")
    report = imported(content, rich.account)
    counts = report.counts["notifications"]
    assert (counts.new, counts.changed, counts.present) == (1, 1, 1)
    unread.refresh_from_db()
    assert unread.read_at is not None
    newer.refresh_from_db()
    assert newer.read_at is None
    rich.account.refresh_from_db()
    assert rich.account.label == "Renamed"


def test_imported_notifications_alert_no_device(rich):
    content = exported(rich.account)
    account = removed_and_back(rich)
    imported(content, account)
    events = AccountEvent.objects.filter(account=account)
    assert not events.filter(kind="notify.message").exists()
    assert not PushDelivery.objects.exists()


def test_secrets_are_in_the_sealed_part_only(rich, subscription):
    topics = [subscription.topic, *rich.account.stores.values_list("topic", flat=True)]
    secrets = [key.hex() for key in sym_keys(Holder.WALLET, topics).values()]
    assert len(secrets) == 3
    for passphrase in (PASSPHRASE, ""):
        text = exported(rich.account, passphrase).decode()
        assert not [secret for secret in secrets if secret in text]
    assert "sealed" not in {
        each["kind"] for each in values_of(exported(rich.account, ""))
    }


def test_without_keys_old_notifications_are_shown_and_keys_may_follow(rich):
    without, complete = exported(rich.account, ""), exported(rich.account)
    account = removed_and_back(rich)
    report = imported(without, account)
    assert not report.has_keys
    row = Subscription.objects.of(account).get()
    assert row.delete_reason == "imported without its key"
    assert row.messages.count() == 3
    assert imported(without, account).changes == 0
    assert not imported(complete, account, passphrase="").opened_keys
    later = imported(complete, account)
    assert later.counts["subscriptions"].changed == 1
    row.refresh_from_db()
    assert row.deleted_at is None
    assert imported(complete, account).changes == 0


def test_a_wallet_without_sync_joins_the_store_of_the_file(rich):
    content = exported(rich.account)
    topic = rich.account.stores.get(name=NOTIFY_SUBSCRIPTION_STORE).topic
    account = removed_and_back(rich)
    assert not account.stores.exists()
    imported(content, account)
    assert account.stores.get(name=NOTIFY_SUBSCRIPTION_STORE).topic == topic
    assert ColdStart.objects.get(account=account).state == "running"
    # The same wallet's signature leads to the same store.
    from syncstore.services import enable_sync, message_to_sign

    signature = ALICE.sign(message_to_sign(account))
    assert enable_sync(account, signature, rich.device)[0].topic == topic


def test_another_shared_store_is_not_replaced(rich):
    content = exported(rich.account)
    store = rich.account.stores.get(name=NOTIFY_SUBSCRIPTION_STORE)
    Store.objects.filter(pk=store.pk).update(topic=SymKey(b"o" * 32).topic)
    report = imported(content, rich.account)
    assert report.counts["keys"].refused == 1
    assert "another shared store" in report.refused[0][1]
    assert rich.account.stores.count() == 2


def test_a_subscription_that_another_wallet_ended_is_not_revived(rich, subscription):
    from subscriptions.services import delete_subscription

    content = exported(rich.account)
    delete_subscription(subscription, rich.device)
    NotifyMessageRecord.objects.all().delete()
    Subscription.objects.all().delete()
    imported(content, rich.account)
    row = Subscription.objects.of(rich.account).get()
    assert row.delete_reason == "unsubscribed by another wallet"
    assert row.messages.count() == 3


def test_the_dapps_key_is_not_taken_from_the_file(rich, dapp):
    values = values_of(exported(rich.account))
    for each in values:
        if each["kind"] == "subscription":
            each["dappAuthenticationDid"] = "did:key:zForged"
    account = removed_and_back(rich)
    imported(file_of(values), account)
    assert (
        Subscription.objects.of(account).get().dapp_authentication_did == dapp.key.did
    )


# --- files that are refused -------------------------------------------------------------


def refusal_of(
    content: bytes, account, passphrase: str = PASSPHRASE
) -> ExportFileError:
    before = state_of(account)
    with pytest.raises(ExportFileError) as caught:
        imported(content, account, passphrase)
    assert state_of(account) == before
    assert str(caught.value).startswith(f"Line {caught.value.line}: ")
    return caught.value


def test_a_wrong_passphrase_names_the_sealed_line(rich):
    content = exported(rich.account)
    account = removed_and_back(rich)
    line = 1 + [each["kind"] for each in values_of(content)].index("sealed")
    assert refusal_of(content, account, "another passphrase").line == line


def test_a_sealed_part_of_another_account_does_not_open(rich, charlie):
    values = values_of(exported(charlie.account))
    mine = values_of(exported(rich.account))
    sealed = next(each for each in values if each["kind"] == "sealed")
    changed = [sealed if each["kind"] == "sealed" else each for each in mine]
    assert "passphrase" in refusal_of(file_of(changed), rich.account).reason


def test_a_truncated_file_is_refused_wherever_it_ends(rich):
    content = exported(rich.account)
    account = removed_and_back(rich)
    ends = [found.end() for found in re.finditer(b"\n", content)][:-1]
    for number, end in enumerate(ends, start=1):
        assert refusal_of(content[:end], account).line == number + 1
        assert refusal_of(content[: end - 5], account).line == number
    assert refusal_of(b"", account).line == 1


def test_a_line_that_is_missing_is_noticed_at_the_end(rich):
    lines = exported(rich.account).splitlines(keepends=True)
    del lines[-2]
    assert refusal_of(b"".join(lines), rich.account).line == len(lines)


def test_a_foreign_account_is_refused(rich, charlie):
    error = refusal_of(exported(rich.account), charlie.account)
    assert error.line == 1
    assert rich.wallet.account in error.reason


@pytest.mark.parametrize(
    ("number", "line"),
    [
        (1, b"{}"),
        (1, b'{"kind":"header","format":"notifyweb-account","version":2}'),
        (1, b'{"kind":"header","format":"other","version":1}'),
        (1, b'{"kind":"header","format":"notifyweb-account","version":1,"account":7}'),
        (2, b"not JSON"),
        (2, b""),
        (2, b"[1]"),
        (2, b"\xff\xfe"),
        (2, b'{"kind":"settings","label":1}'),
        (2, b'{"kind":"end","mutes":0,"subscriptions":0,"notifications":0}'),
        (2, b'{"kind":"settings","label":"","quietHours":[]}'),
        (2, b'{"kind":"unknown"}'),
        (2, b'{"kind":["header"]}'),
        (2, b'{"kind":"notification"}'),
        (2, b'{"kind":"sealed","kdf":"scrypt","n":1073741824,"r":8,"p":1}'),
        (2, b"[" * 5_000),
        (2, b'{"kind":"' + b"x" * 1024 * 1024 + b'"}'),
    ],
)
def test_a_malformed_line_is_named(alice, number, line):
    lines = exported(alice.account).splitlines()
    lines[number - 1] = line
    error = refusal_of(b"\n".join(lines) + b"\n", alice.account)
    # What replaced the settings may be well-formed, and the next line out of place.
    assert number <= error.line <= number + 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("topic", "0" * 63),
        ("topic", None),
        ("rpcId", 5),
        ("rpcId", "0"),
        ("rpcId", "9223372036854775808"),
        ("rpcId", "\u0661"),
        ("title", None),
        ("body", 1),
        ("messageAuth", "x" * 70_000),
        ("messageAuth", "a\u0000b"),
        ("publishedAt", "yesterday"),
        ("publishedAt", "2026-01-01T00:00:00"),
        ("publishedAt", "0001-01-01T00:00:00+14:00"),
        ("readAt", 12),
        ("archivedAt", "9999-12-31T23:59:59-14:00"),
    ],
)
def test_a_malformed_notification_is_named(rich, name, value):
    values = values_of(exported(rich.account))
    values[-2][name] = value
    assert refusal_of(file_of(values), rich.account).line == len(values) - 1


def test_hostile_texts_are_stored_as_those_of_a_dapp_and_shown_escaped(rich):
    hostile = "<script>alert(1)</script>\u202e\u0000'\"--; DROP TABLE x"
    values = values_of(exported(rich.account))
    values[-2] |= {"title": hostile * 20, "body": hostile * 500, "type": hostile}
    values[1]["label"] = "<b>\u0007" + "x" * 200
    far = clock.now() + timedelta(days=4_000)
    values[-2]["publishedAt"] = far.isoformat()
    account = removed_and_back(rich)
    report = imported(file_of(values), account)
    assert report.refused == []
    record = NotifyMessageRecord.objects.get(rpc_id=int(values[-2]["rpcId"]))
    assert "\x00" not in record.title + record.body
    assert (len(record.title), len(record.body)) <= (256, 4096)
    assert record.published_at <= clock.now()
    account.refresh_from_db()
    assert len(account.label) == 64
    page = rich.get("/inbox?tab=all").text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "http://10.0.0.1", "http://user@evil.example", "x"]
)
def test_a_dapp_that_this_server_does_not_reach_is_a_refused_line(rich, url):
    values = values_of(exported(rich.account))
    for each in values:
        if each["kind"] == "subscription":
            each["metadata"]["url"] = url
    account = removed_and_back(rich)
    report = imported(file_of(values), account)
    assert report.counts["subscriptions"].refused == 1
    # With it its notifications; all are named.
    kinds = [each["kind"] for each in values]
    start = kinds.index("subscription") + 1
    assert [line for line, _ in report.refused] == list(range(start, start + 4))
    assert not Subscription.objects.of(account).exists()


def test_limits_refuse_lines_and_not_the_file(rich, settings):
    values = values_of(exported(rich.account))
    account = removed_and_back(rich)
    from dataclasses import replace

    settings.LIMITS = replace(
        settings.LIMITS, subscriptions_per_account=0, mutes_per_account=0
    )
    report = imported(file_of(values), account)
    assert report.counts["subscriptions"].refused == 1
    assert report.counts["mutes"].refused == 1
    assert report.counts["settings"].new == 1


def test_a_passphrase_has_a_minimum(alice):
    with pytest.raises(WeakPassphrase):
        export_account(alice.account, passphrase="short")


# --- size -------------------------------------------------------------------------------


def many(content: bytes, count: int) -> bytes:
    values = values_of(content)
    note = next(each for each in values if each["kind"] == "notification")
    head = [each for each in values if each["kind"] not in ("notification", "end")]
    # A signed token is stored once for each subscription.
    notes = [
        note
        | {
            "rpcId": str(10_000 + number),
            "messageAuth": f"{note['messageAuth']}{number}",
        }
        for number in range(count)
    ]
    subscriptions = sum(each["kind"] == "subscription" for each in head)
    mutes = sum(each["kind"] == "mute" for each in head)
    end = {
        "kind": "end",
        "mutes": mutes,
        "subscriptions": subscriptions,
        "notifications": count,
    }
    return file_of([*head, *notes, end])


def queries_of_import(content, account) -> int:
    NotifyMessageRecord.objects.filter(subscription__account=account).delete()
    with CaptureQueriesContext(
        connection,
    ) as captured:
        report = imported(content, account)
    assert report.refused == []
    return len(captured)


def test_ten_thousand_notifications_take_as_many_queries_as_ten(rich):
    content = exported(rich.account)
    account = removed_and_back(rich)
    imported(content, account)
    few = queries_of_import(many(content, 10), account)
    large = many(content, 10_000)
    assert queries_of_import(large, account) == few
    assert NotifyMessageRecord.objects.count() == 10_000
    assert imported(large, account).counts["notifications"].present == 10_000


def test_memory_of_an_export_does_not_grow_with_the_inbox(rich):
    import tracemalloc

    account = rich.account

    def peak_of_export() -> int:
        tracemalloc.start()
        for _ in export_account(account):
            pass
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    content = exported(account)
    imported(many(content, 2_000), account)
    peak_of_export()
    small = peak_of_export()
    imported(many(content, 10_000), account)
    assert peak_of_export() < small * 1.5


def test_a_token_that_is_repeated_in_the_file_is_stored_once(rich):
    values = values_of(exported(rich.account))
    repeated = values[-2] | {"rpcId": "12345"}
    values[-1]["notifications"] += 1
    account = removed_and_back(rich)
    report = imported(file_of([*values[:-1], repeated, values[-1]]), account)
    counts = report.counts["notifications"]
    assert (counts.new, counts.present) == (3, 1)


# --- commands ---------------------------------------------------------------------------


@pytest.fixture
def secret_file(tmp_path) -> Path:
    path = tmp_path / "passphrase"
    path.write_text(f"{PASSPHRASE}\n")
    return path


def test_the_commands_move_an_account(rich, tmp_path, secret_file):
    path, before = tmp_path / "alice.jsonl", state_of(rich.account)
    call_command(
        "export_account",
        rich.wallet.address,
        passphrase_file=secret_file,
        output=path,
    )
    assert path.stat().st_mode & 0o777 == 0o600
    account = removed_and_back(rich)
    out = io.StringIO()
    for dry_run in (True, False):
        call_command(
            "import_account",
            str(path),
            passphrase_file=secret_file,
            dry_run=dry_run,
            json=True,
            stdout=out,
        )
        account.refresh_from_db()
        assert (state_of(account) == before) is not dry_run
    first, second = map(json.loads, out.getvalue().splitlines())
    assert first["dryRun"] is True
    assert first["counts"] == second["counts"]


def test_force_creates_the_account_of_the_file(rich, tmp_path):
    path = tmp_path / "alice.jsonl"
    path.write_bytes(exported(rich.account))
    remove_account(rich.account, by=None)
    with pytest.raises(CommandError) as caught:
        call_command("import_account", str(path), stdout=io.StringIO())
    assert caught.value.returncode == 1
    assert not Account.objects.at(rich.wallet.account).exists()
    call_command(
        "import_account", str(path), force=True, dry_run=True, stdout=io.StringIO()
    )
    assert not Account.objects.at(rich.wallet.account).exists()
    call_command("import_account", str(path), force=True, stdout=io.StringIO())
    assert rich.wallet.row().label == "Savings"


def test_exit_codes_of_the_commands(rich, tmp_path, secret_file):
    def code(*arguments) -> int:
        try:
            call_command(*map(str, arguments), stdout=io.StringIO())
        except CommandError as error:
            return error.returncode
        return 0

    path, empty = tmp_path / "alice.jsonl", tmp_path / "empty"
    empty.write_text("")
    path.write_bytes(exported(rich.account))
    assert code("import_account", path) == 0
    assert code("import_account", path, "--passphrase-file", secret_file) == 0
    assert code("import_account", empty) == 1
    assert code("import_account", tmp_path / "nowhere") == 2
    assert code("import_account", path, "--passphrase-file", empty) == 2
    empty.write_text("wrong passphrase")
    assert code("import_account", path, "--passphrase-file", empty) == 1
    assert code("export_account", BOB.address) == 1
    empty.write_text("short")
    assert code("export_account", ALICE.address, "--passphrase-file", empty) == 2
    assert code("export_account", ALICE.address, "-o", tmp_path / "no" / "file") == 2
    assert code("export_account", ALICE.address) == 0
    values = values_of(path.read_bytes())
    next(v for v in values if v["kind"] == "subscription")["metadata"]["url"] = "x"
    path.write_bytes(file_of(values))
    forget(Holder.WALLET, [])
    Subscription.objects.of(rich.account).delete()
    assert code("import_account", path) == 1, "refused lines"


# --- CSV --------------------------------------------------------------------------------


def test_a_table_of_notifications_runs_no_formula(rich, notify):
    import csv

    notify(title="=HYPERLINK(1)", body='Two\nlines, "quoted"')
    text = b"".join(export_csv(rich.account)).decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert len(rows) == 4
    assert rows[-1]["title"] == "'=HYPERLINK(1)"
    assert rows[-1]["body"] == 'Two\nlines, "quoted"'
    assert [bool(row["read_at"]) for row in rows] == [True, False, False, False]


# --- the relay --------------------------------------------------------------------------


def with_header(content: bytes, **changes: str) -> bytes:
    header, *rest = values_of(content)
    return file_of([header | changes, *rest])


def test_a_file_of_this_server_is_from_its_relay_under_any_address(alice, settings):
    account = alice.account
    content = exported(account)
    assert imported(content, account, dry_run=True).other_relay == ""
    settings.RELAY_PUBLIC_URL = "wss://relay.renamed.example"
    assert imported(content, account, dry_run=True).other_relay == ""


def test_two_servers_with_the_default_address_have_two_relays(alice, settings):
    account = alice.account
    content = with_header(exported(account), relayName="0" * 32)
    report = imported(content, account, dry_run=True)
    assert report.other_relay == settings.RELAY_PUBLIC_URL


def test_without_names_the_addresses_of_the_relays_decide(alice, settings):
    account = alice.account
    content = exported(account)
    older = with_header(content, relayName="")
    assert imported(older, account, dry_run=True).other_relay == ""
    settings.EMBEDDED_RELAY = False
    settings.RELAY_URL = "wss://relay.public.example"
    report = imported(content, account, dry_run=True)
    assert report.other_relay == settings.RELAY_PUBLIC_URL
    assert values_of(exported(account))[0]["relayName"] == ""
