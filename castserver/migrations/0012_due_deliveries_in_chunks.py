"""What is due is a row per chunk; deliveries are written once, with their message."""

import django.contrib.postgres.fields
import django.db.models.deletion
from django.db import migrations, models

# Deliveries without a message become chunks again; nobody has seen their ids.
_FORWARD = """
WITH due AS (
    DELETE FROM castserver_delivery WHERE sent_at IS NULL
    RETURNING notification_id, subscriber_id, created_at
)
INSERT INTO castserver_duedeliveries (notification_id, subscribers, created_at)
SELECT notification_id, array_agg(subscriber_id), min(created_at)
FROM (
    SELECT *, (row_number() OVER (PARTITION BY notification_id) - 1) / 1000 AS chunk
    FROM due
) AS numbered
GROUP BY notification_id, chunk
"""


class Migration(migrations.Migration):
    dependencies = [("castserver", "0011_secrets_have_names_and_scopes")]

    operations = [
        migrations.CreateModel(
            name="DueDeliveries",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                (
                    "subscribers",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.BigIntegerField(),
                        help_text="primary keys",
                        size=None,
                    ),
                ),
                ("created_at", models.DateTimeField()),
                (
                    "notification",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="due",
                        to="castserver.notification",
                    ),
                ),
            ],
            options={"verbose_name_plural": "due deliveries"},
        ),
        migrations.RemoveIndex(model_name="delivery", name="delivery_due"),
        migrations.RunSQL(_FORWARD, migrations.RunSQL.noop),
    ]
