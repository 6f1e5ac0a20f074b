"""Invite keys are found by the account's key: for ``eip155`` without the chain."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations

# Of several rows of one address the newest word counts.
FORGET_OLDER = r"""
DELETE FROM identity_inviteregistration AS row
USING identity_inviteregistration AS other
WHERE (row.issued_at, row.id) < (other.issued_at, other.id)
    AND row.account LIKE 'eip155:%:%' AND other.account LIKE 'eip155:%:%'
    AND split_part(row.account, ':', 3) = split_part(other.account, ':', 3)
"""
FILL = r"""
UPDATE identity_inviteregistration
SET account = 'eip155:' || split_part(account, ':', 3)
WHERE account ~ '^eip155:[^:]+:0x[0-9a-f]{40}$'
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [("identity", "0001_initial")]

    operations: ClassVar = [
        migrations.RunSQL(FORGET_OLDER, migrations.RunSQL.noop),
        migrations.RunSQL(FILL, migrations.RunSQL.noop),
    ]
