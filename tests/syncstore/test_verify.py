"""``manage.py verify-sync``: the stores rebuilt from the archive, compared, and exit codes."""

from __future__ import annotations

import json

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from messaging.models import OutboxMessage
from syncstore.models import DeviceCursor, StoreCheck, StoreEntry
from syncstore.services import store_delete, store_set
from tests.syncstore.conftest import state_of


def archive_all(archive) -> None:
    """The relay has accepted and archived all that was published."""
    for row in OutboxMessage.objects.order_by("pk"):
        archive.keep(row.topic, row.message)
    OutboxMessage.objects.update(state="sent")


def verify(capsys, *arguments) -> tuple[int, str]:
    code = 0
    try:
        call_command("verify-sync", *arguments)
    except SystemExit as end:
        code = int(end.code)
    return code, capsys.readouterr().out


@pytest.fixture
def filled(alice, store, peer, archive):
    account = alice.account.pk
    store_set(account, store.name, {"a": "1", "b": "2"}, device=alice.device)
    store_set(account, store.name, {"a": "3"}, device=alice.device)
    store_delete(account, store.name, ["b"], device=alice.device)
    archive_all(archive)
    return store


def test_identical_stores_end_with_0(alice, filled, capsys):
    code, text = verify(capsys, alice.account.address)
    assert code == 0
    assert "2 devices, 2 stores, identical" in text
    assert StoreCheck.objects.get().state == "done"


def test_differences_end_with_1_and_are_listed(alice, filled, capsys):
    StoreEntry.objects.get(key="b").delete()
    before = state_of(filled)
    code, text = verify(capsys, "--json")
    assert code == 1
    value = json.loads(text)
    assert value["identical"] is False
    (difference,) = value["stores"][0]["differences"]
    assert (difference["key"], difference["kind"]) == ("b", "missing here")
    assert state_of(filled) == before
    code, text = verify(capsys)
    assert (code, "b: missing here" in text) == (1, True)


def test_a_forged_row_is_found(alice, filled, capsys):
    other = StoreEntry.objects.get(key="a")
    other.sealed_value = b"x"
    other.save()
    code, text = verify(capsys)
    assert (code, "a: not readable here" in text) == (1, True)


def test_an_update_on_its_way_to_the_relay_is_not_a_difference(alice, filled, capsys):
    store_set(alice.account.pk, filled.name, {"new": "1"}, device=alice.device)
    assert verify(capsys)[0] == 0
    OutboxMessage.objects.update(state="sent")
    assert verify(capsys)[0] == 1


def test_a_device_that_is_behind_is_named(alice, filled, capsys):
    DeviceCursor.objects.filter(device=alice.devices[1]).update(update_pk=1)
    code, text = verify(capsys)
    assert code == 1
    assert f"{alice.devices[1].name} has not applied the newest update" in text


def test_an_unreachable_archive_ends_with_2(alice, filled, archive, capsys):
    archive.status = 503
    code, text = verify(capsys)
    assert (code, "not compared" in text) == (2, True)


@pytest.mark.parametrize("text", ["0x" + "0" * 40, "nonsense", ""])
def test_an_unknown_account_ends_with_2(alice, filled, text):
    with pytest.raises(CommandError) as error:
        call_command("verify-sync", text)
    assert error.value.returncode == 2


def test_without_sync_there_is_nothing_to_compare(bob, capsys):
    assert verify(capsys) == (0, "No account here uses Sync.\n")
    with pytest.raises(CommandError, match="Sync is off"):
        call_command("verify-sync", bob.account.address)
