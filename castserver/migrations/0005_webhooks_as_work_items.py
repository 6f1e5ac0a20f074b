from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('castserver', '0004_types_have_ids_names_and_icons'),
    ]

    operations = [
        migrations.RemoveIndex(
            model_name='webhookdelivery',
            name='webhook_delivery_due',
        ),
        migrations.AddField(
            model_name='webhookdelivery',
            name='leased_by',
            field=models.IntegerField(blank=True, editable=False, help_text="backend pid of the worker's database session", null=True),
        ),
        migrations.AlterField(
            model_name='webhookdelivery',
            name='leased_until',
            field=models.DateTimeField(blank=True, editable=False, null=True),
        ),
        migrations.AlterField(
            model_name='webhookdelivery',
            name='next_attempt_at',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AlterField(
            model_name='webhookdelivery',
            name='reason',
            field=models.CharField(blank=True, max_length=200, verbose_name='why the last attempt failed'),
        ),
        migrations.AddIndex(
            model_name='webhookdelivery',
            index=models.Index(condition=models.Q(('next_attempt_at__isnull', False)), fields=['next_attempt_at'], name='webhookdelivery_due'),
        ),
        migrations.RunSQL(
            """
            UPDATE castserver_webhookdelivery SET next_attempt_at = NULL WHERE state <> 'due'
            """,
            migrations.RunSQL.noop,
        ),
    ]
