"""Accounts of subscribers and watchers are compared without the chain of ``eip155``.

Subscribers of one project that differed only in the chain become one account with several
topics, which is what an account may always have had: every topic stays, with its types.
"""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations

FILL = r"""
UPDATE {table} SET account_key = 'eip155:' || split_part(account_key, ':', 3)
WHERE account_key ~ '^eip155:[^:]+:0x[0-9a-f]{{40}}$'
"""
# Rows of the last moment: the announcement that each stands for lists everything.
FORGET_DOUBLES = r"""
DELETE FROM castserver_changedsubscriptions AS row
USING castserver_changedsubscriptions AS other
WHERE row.id > other.id
    AND split_part(row.account_key, ':', 3) = split_part(other.account_key, ':', 3)
    AND row.account_key LIKE 'eip155:%:%' AND other.account_key LIKE 'eip155:%:%'
    AND row.app_domain = other.app_domain AND row.source_did = other.source_did
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [("castserver", "0002_rpc_id_sequence")]

    operations: ClassVar = [
        migrations.RunSQL(FORGET_DOUBLES, migrations.RunSQL.noop),
        *(
            migrations.RunSQL(FILL.format(table=table), migrations.RunSQL.noop)
            for table in (
                "castserver_subscriber",
                "castserver_watcher",
                "castserver_changedsubscriptions",
            )
        ),
    ]
