from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0003_account_key'),
        ('syncstore', '0001_initial'),
    ]

    operations = [
        migrations.RemoveIndex(
            model_name='coldstart',
            name='cold_start_due',
        ),
        migrations.AddField(
            model_name='coldstart',
            name='leased_until',
            field=models.DateTimeField(blank=True, editable=False, null=True),
        ),
        migrations.AlterField(
            model_name='coldstart',
            name='leased_by',
            field=models.IntegerField(blank=True, editable=False, help_text="backend pid of the worker's database session", null=True),
        ),
        migrations.AlterField(
            model_name='coldstart',
            name='reason',
            field=models.CharField(blank=True, max_length=200, verbose_name='why the last attempt failed'),
        ),
        migrations.AddIndex(
            model_name='coldstart',
            index=models.Index(condition=models.Q(('next_attempt_at__isnull', False)), fields=['next_attempt_at'], name='coldstart_due'),
        ),
        migrations.RunSQL(
            """
            UPDATE syncstore_coldstart SET next_attempt_at = NULL WHERE state <> 'running'
            """,
            migrations.RunSQL.noop,
        ),
    ]
