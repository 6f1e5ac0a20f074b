"""The audit log: appended to, never changed, safe to read."""

from __future__ import annotations

import pytest
from django.db import DatabaseError, connection, transaction

from accounts.audit import audit
from accounts.models import AuditEntry
from tests.people import ALICE, sign_in

pytestmark = pytest.mark.django_db


def sql(statement):
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


def test_an_entry_names_actor_action_and_device():
    device = sign_in(ALICE)
    entry = audit("token.made", device=device, account=ALICE.row(), subject="token 7")
    assert (entry.user, entry.device) == (device.user, device)
    assert entry.actor == device.user.username
    assert entry.subject == "token 7"


def test_a_scheduled_action_has_no_actor():
    assert audit("keychain.rotated").actor == ""


def test_lines_cannot_be_forged_and_texts_are_cut():
    entry = audit(
        "dapp.key-changed",
        subject="host\r\nforged \x1b[31m line \u202e",
        detail="x" * 9999,
    )
    assert entry.subject.isprintable()
    assert len(entry.detail) == 512


def test_the_rows_refuse_changes():
    entry = audit("sign-in")
    with pytest.raises(TypeError):
        AuditEntry.objects.update(action="other")
    with pytest.raises(TypeError):
        AuditEntry.objects.all().delete()
    entry.action = "other"
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        entry.save()
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        entry.delete()


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM accounts_auditentry",
        "UPDATE accounts_auditentry SET action = 'other'",
        "UPDATE accounts_auditentry SET at = now()",
        "UPDATE accounts_auditentry SET detail = 'other'",
        "UPDATE accounts_auditentry SET user_id = (SELECT min(id) FROM accounts_user)",
    ],
)
def test_the_database_refuses_changes(statement):
    sign_in(ALICE)
    audit("keychain.rotated")
    with pytest.raises(DatabaseError, match="append-only"):
        sql(statement)


def test_entries_outlive_whom_they_are_about():
    device = sign_in(ALICE)
    entry = audit("device.renamed", device=device, account=ALICE.row())
    name = device.user.username
    ALICE.row().delete()
    device.user.delete()
    entry = AuditEntry.objects.get(pk=entry.pk)
    assert (entry.user, entry.device, entry.account) == (None, None, None)
    assert entry.actor == name
