"""Plain field names; the columns keep theirs, so nothing changes in the database."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("subscriptions", "0006_watches_as_work_items")]

    operations = [
        migrations.AlterField(
            model_name="subscription",
            name="unread_told",
            field=models.PositiveIntegerField(
                "unread, as the server counted when we decided to ask which",
                null=True,
                blank=True,
                db_column="unread_told",
            ),
        ),
        migrations.RenameField(
            model_name="subscription",
            old_name="unread_told",
            new_name="server_unread_count",
        ),
        migrations.AlterField(
            model_name="notifymessagerecord",
            name="read_there_at",
            field=models.DateTimeField(
                null=True, blank=True, db_column="read_there_at"
            ),
        ),
        migrations.RenameField(
            model_name="notifymessagerecord",
            old_name="read_there_at",
            new_name="server_read_at",
        ),
        migrations.AlterField(
            model_name="subscription",
            name="added_by",
            field=models.CharField(
                max_length=10,
                choices=[
                    ("subscribe", "subscribed here (W1)"),
                    ("sync", "came through Sync (Wx)"),
                    ("history", "rebuilt from History"),
                    ("server", "listed by the Notify server"),
                ],
            ),
        ),
        migrations.AlterField(
            model_name="watchedserver",
            name="attempts",
            field=models.PositiveSmallIntegerField(
                "failed attempts in a row", default=0
            ),
        ),
        migrations.AlterField(
            model_name="watchedserver",
            name="reason",
            field=models.CharField(
                "why the last attempt failed", max_length=200, blank=True
            ),
        ),
    ]
