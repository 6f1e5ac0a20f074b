"""Counters of projects, written by triggers, and counted once for what there is already."""

import django.db.models.deletion
from django.db import migrations, models

# Statement-level triggers: one part for each project and day that a statement touches. A
# deletion is not subtracted: what was sent stays sent when its rows are pruned.
TRIGGERS = """
CREATE FUNCTION castserver_count_notifications() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO castserver_projectcount (project_id, day, notifications, sent, received, read)
  SELECT project_id, (created_at AT TIME ZONE 'UTC')::date, count(*), 0, 0, 0
  FROM new_rows GROUP BY 1, 2;
  RETURN NULL;
END $$;

CREATE FUNCTION castserver_count_deliveries() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO castserver_projectcount (project_id, day, notifications, sent, received, read)
  SELECT sender.project_id, (made.created_at AT TIME ZONE 'UTC')::date, 0,
    count(made.sent_at), count(made.receipt_at), count(made.read_at)
  FROM new_rows made JOIN castserver_notification sender ON sender.id = made.notification_id
  GROUP BY 1, 2;
  RETURN NULL;
END $$;

CREATE FUNCTION castserver_count_changes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO castserver_projectcount (project_id, day, notifications, sent, received, read)
  SELECT sender.project_id, (made.created_at AT TIME ZONE 'UTC')::date, 0,
    count(made.sent_at) - count(earlier.sent_at),
    count(made.receipt_at) - count(earlier.receipt_at),
    count(made.read_at) - count(earlier.read_at)
  FROM new_rows made
  JOIN old_rows earlier USING (id)
  JOIN castserver_notification sender ON sender.id = made.notification_id
  GROUP BY 1, 2
  HAVING count(made.sent_at) <> count(earlier.sent_at)
      OR count(made.receipt_at) <> count(earlier.receipt_at)
      OR count(made.read_at) <> count(earlier.read_at);
  RETURN NULL;
END $$;

CREATE TRIGGER count_notifications AFTER INSERT ON castserver_notification
  REFERENCING NEW TABLE AS new_rows
  FOR EACH STATEMENT EXECUTE FUNCTION castserver_count_notifications();
CREATE TRIGGER count_deliveries AFTER INSERT ON castserver_delivery
  REFERENCING NEW TABLE AS new_rows
  FOR EACH STATEMENT EXECUTE FUNCTION castserver_count_deliveries();
CREATE TRIGGER count_changes AFTER UPDATE ON castserver_delivery
  REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
  FOR EACH STATEMENT EXECUTE FUNCTION castserver_count_changes();
"""
COUNT = """
INSERT INTO castserver_projectcount (project_id, day, notifications, sent, received, read)
SELECT project_id, day, sum(notifications), sum(sent), sum(received), sum(read)
FROM (
    SELECT project_id, (created_at AT TIME ZONE 'UTC')::date AS day,
        count(*) AS notifications, 0 AS sent, 0 AS received, 0 AS read
    FROM castserver_notification GROUP BY 1, 2
    UNION ALL
    SELECT sender.project_id, (made.created_at AT TIME ZONE 'UTC')::date, 0,
        count(made.sent_at), count(made.receipt_at), count(made.read_at)
    FROM castserver_delivery made
    JOIN castserver_notification sender ON sender.id = made.notification_id
    GROUP BY 1, 2
) AS parts GROUP BY 1, 2
"""
BACKWARD = """
DROP TRIGGER count_changes ON castserver_delivery;
DROP TRIGGER count_deliveries ON castserver_delivery;
DROP TRIGGER count_notifications ON castserver_notification;
DROP FUNCTION castserver_count_changes();
DROP FUNCTION castserver_count_deliveries();
DROP FUNCTION castserver_count_notifications();
"""


class Migration(migrations.Migration):
    dependencies = [("castserver", "0015_webhook_attempts_have_excerpts")]

    operations = [
        migrations.CreateModel(
            name="ProjectCount",
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
                ("day", models.DateField(help_text="of the delivery")),
                ("notifications", models.BigIntegerField(default=0)),
                ("sent", models.BigIntegerField(default=0)),
                ("received", models.BigIntegerField(default=0)),
                ("read", models.BigIntegerField(default=0)),
                (
                    "project",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="counts",
                        to="castserver.project",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(
                        fields=["project", "day"], name="project_count_by_day"
                    )
                ],
            },
        ),
        migrations.RunSQL(COUNT, migrations.RunSQL.noop),
        migrations.RunSQL(TRIGGERS, BACKWARD),
    ]
