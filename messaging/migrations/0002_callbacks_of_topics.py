from django.db import migrations, models

# What waited for a confirmation was a protocol step; now it names the callback that
# records it. `record_topic_step` reads the context that the old values become.
_FORWARD = """
UPDATE messaging_topicsubscription SET steps = (
    SELECT jsonb_agg(jsonb_build_object(
        'callback', 'subscriptions.record_topic_step', 'context', step
    ))
    FROM jsonb_array_elements(steps) AS step
)
WHERE steps <> '[]'
"""

_BACKWARD = """
UPDATE messaging_topicsubscription SET steps = (
    SELECT jsonb_agg(callback -> 'context') FROM jsonb_array_elements(steps) AS callback
)
WHERE steps <> '[]'
"""


class Migration(migrations.Migration):
    dependencies = [("messaging", "0001_initial")]

    operations = [
        migrations.RunSQL(_FORWARD, _BACKWARD),
        # The column keeps its name: a gateway of the first release goes on with other
        # rows, and retries these until it is replaced.
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.RenameField("topicsubscription", "steps", "callbacks"),
                migrations.AlterField(
                    "topicsubscription",
                    "callbacks",
                    models.JSONField(blank=True, db_column="steps", default=list),
                ),
            ]
        ),
    ]
