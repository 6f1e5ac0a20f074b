from django.db import migrations, models

# Before, topics were ordered by arrival.
BACKFILL = """
UPDATE castserver_subscriber SET subscribe_iat = extract(epoch FROM created_at)::bigint
"""


class Migration(migrations.Migration):
    dependencies = [("castserver", "0017_numbers_of_subscribers")]

    operations = [
        migrations.AddField(
            model_name="subscriber",
            name="subscribe_iat",
            field=models.BigIntegerField(
                db_default=0,
                help_text="iat of the first subscribe, or its arrival if that was earlier; seconds",
            ),
        ),
        migrations.RunSQL(BACKFILL, migrations.RunSQL.noop),
    ]
