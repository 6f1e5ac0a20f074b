"""A signed notification is stored once, whatever JSON-RPC id it was sealed under."""

from __future__ import annotations

from typing import ClassVar

import django.db.models.functions.text
from django.db import migrations, models

# Repeats that were stored before stay, but no longer as tokens: the first one has it.
MARK_REPEATS = """
UPDATE subscriptions_notifymessagerecord AS later
SET message_auth = 'repeated: ' || later.message_auth
FROM (
  SELECT id, row_number() OVER (
    PARTITION BY subscription_id, md5(message_auth) ORDER BY id
  ) AS place
  FROM subscriptions_notifymessagerecord WHERE message_auth LIKE 'ey%'
) AS known
WHERE known.id = later.id AND known.place > 1
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [
        ("subscriptions", "0010_list_of_snoozed"),
    ]

    operations: ClassVar = [
        migrations.RunSQL(MARK_REPEATS, migrations.RunSQL.noop),
        migrations.AddConstraint(
            model_name="notifymessagerecord",
            constraint=models.UniqueConstraint(
                models.F("subscription"),
                django.db.models.functions.text.MD5("message_auth"),
                condition=models.Q(message_auth__startswith="ey"),
                name="notify_message_token_is_unique",
            ),
        ),
    ]
