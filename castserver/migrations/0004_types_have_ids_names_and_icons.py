"""A type's id, which scopes and notifications carry, is apart from the name people read."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar = [("castserver", "0003_accounts_without_chain")]

    operations: ClassVar = [
        migrations.RemoveConstraint(
            "notificationtype", "notification_type_is_unique"
        ),
        migrations.RenameField("notificationtype", "name", "type_id"),
        migrations.AddField(
            "notificationtype", "name", models.CharField(max_length=64, default="")
        ),
        migrations.RunSQL(
            "UPDATE castserver_notificationtype SET name = type_id",
            migrations.RunSQL.noop,
        ),
        migrations.AlterField(
            "notificationtype", "name", models.CharField(max_length=64)
        ),
        migrations.AddField(
            "notificationtype", "icon", models.CharField(max_length=255, blank=True)
        ),
        migrations.AddConstraint(
            "notificationtype",
            models.UniqueConstraint(
                fields=["project", "type_id"], name="notification_type_is_unique"
            ),
        ),
    ]
