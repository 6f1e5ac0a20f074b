"""An account is found by its key: for ``eip155`` the address, whatever the chain."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations, models

# Of several accounts that differ only in the chain, the oldest gets the key that stands
# for every chain. The others keep a key of their own chain: nothing is merged, because
# each has devices, stores and subscriptions, and may belong to another person.
FILL = r"""
WITH keyed AS (
    SELECT id, lower(address) AS exact,
        CASE WHEN address ~ '^eip155:[^:]+:0[xX][0-9a-fA-F]{40}$'
            THEN 'eip155:' || lower(split_part(address, ':', 3)) ELSE address END AS key
    FROM accounts_account
), ranked AS (
    SELECT id, exact, key, row_number() OVER (PARTITION BY key ORDER BY id) AS place
    FROM keyed
)
UPDATE accounts_account AS account
SET key = CASE WHEN ranked.place = 1 THEN ranked.key ELSE ranked.exact END
FROM ranked WHERE ranked.id = account.id
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [("accounts", "0002_audit_is_append_only")]

    operations: ClassVar = [
        migrations.AddField(
            "account", "key", models.CharField(max_length=168, default="", editable=False)
        ),
        migrations.RunSQL(FILL, migrations.RunSQL.noop),
        migrations.RemoveConstraint(
            "account", "account_address_is_unique_in_any_case"
        ),
        migrations.AlterField(
            "account",
            "key",
            models.CharField(max_length=168, unique=True, editable=False),
        ),
    ]
