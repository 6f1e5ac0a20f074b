"""Topics belong to a range of shards instead of to a lane assigned one by one.

Adding the generated column rewrites the outbox once.
"""

from django.db import migrations, models

import messaging.models

_SHARDS = 4096

# The lanes of a party share the shards evenly.
_DIVIDE = f"""
UPDATE messaging_partyclient AS client
SET first_shard = (place - 1) * {_SHARDS} / lanes,
    last_shard = place * {_SHARDS} / lanes - 1
FROM (
    SELECT id, row_number() OVER (PARTITION BY party ORDER BY lane) AS place,
        count(*) OVER (PARTITION BY party) AS lanes
    FROM messaging_partyclient
) AS counted
WHERE client.id = counted.id
"""


class Migration(migrations.Migration):
    dependencies = [("messaging", "0003_dead_letters")]

    operations = [
        migrations.AddField(
            model_name="partyclient",
            name="first_shard",
            field=models.PositiveSmallIntegerField(default=0),
        ),
        migrations.AddField(
            model_name="partyclient",
            name="last_shard",
            field=models.PositiveSmallIntegerField(default=_SHARDS - 1),
        ),
        migrations.RunSQL(_DIVIDE, migrations.RunSQL.noop),
        migrations.RemoveIndex(
            model_name="topicsubscription", name="topic_subscription_pending"
        ),
        migrations.RemoveIndex(
            model_name="topicsubscription", name="topic_subscription_laneless"
        ),
        migrations.RemoveField(model_name="topicsubscription", name="lane"),
        migrations.AddIndex(
            model_name="topicsubscription",
            index=models.Index(
                condition=models.Q(("confirmed_at", None)),
                fields=["party", "topic"],
                name="topic_pending_of_range",
            ),
        ),
        migrations.RemoveIndex(model_name="outboxmessage", name="outbox_message_due"),
        migrations.RemoveIndex(
            model_name="outboxmessage", name="outbox_message_backing_off"
        ),
        migrations.AddField(
            model_name="outboxmessage",
            name="shard",
            field=models.GeneratedField(
                db_persist=True,
                expression=messaging.models.ShardOf("topic"),
                output_field=models.SmallIntegerField(),
            ),
        ),
        migrations.AddIndex(
            model_name="outboxmessage",
            index=models.Index(
                condition=models.Q(("state", "due")),
                fields=["party", "shard", "id"],
                name="outbox_message_due_of_shard",
            ),
        ),
        migrations.AddIndex(
            model_name="outboxmessage",
            index=models.Index(
                condition=models.Q(("attempts__gt", 0), ("state", "due")),
                fields=["party", "topic", "id"],
                name="outbox_message_held_back",
            ),
        ),
    ]
