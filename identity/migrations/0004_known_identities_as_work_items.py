from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('identity', '0003_registrations_as_work_items'),
    ]

    operations = [
        migrations.AddField(
            model_name='knownidentity',
            name='attempts',
            field=models.PositiveSmallIntegerField(default=0),
        ),
        migrations.AddField(
            model_name='knownidentity',
            name='leased_by',
            field=models.IntegerField(blank=True, editable=False, help_text="backend pid of the worker's database session", null=True),
        ),
        migrations.AddField(
            model_name='knownidentity',
            name='leased_until',
            field=models.DateTimeField(blank=True, editable=False, null=True),
        ),
        migrations.AddField(
            model_name='knownidentity',
            name='next_attempt_at',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='knownidentity',
            name='reason',
            field=models.CharField(blank=True, max_length=200, verbose_name='why the last attempt failed'),
        ),
        migrations.AlterField(
            model_name='knownidentity',
            name='checked_at',
            field=models.DateTimeField(blank=True, db_index=True, null=True),
        ),
        migrations.AddIndex(
            model_name='knownidentity',
            index=models.Index(condition=models.Q(('next_attempt_at__isnull', False)), fields=['next_attempt_at'], name='knownidentity_due'),
        ),
    ]
