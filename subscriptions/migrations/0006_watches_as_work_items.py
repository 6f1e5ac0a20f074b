from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0003_account_key'),
        ('subscriptions', '0005_jobs_of_subscriptions'),
    ]

    operations = [
        migrations.RemoveIndex(
            model_name='accountwatch',
            name='account_watch_due',
        ),
        migrations.AddField(
            model_name='accountwatch',
            name='leased_by',
            field=models.IntegerField(blank=True, editable=False, help_text="backend pid of the worker's database session", null=True),
        ),
        migrations.AddField(
            model_name='accountwatch',
            name='leased_until',
            field=models.DateTimeField(blank=True, editable=False, null=True),
        ),
        migrations.AlterField(
            model_name='accountwatch',
            name='next_attempt_at',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AlterField(
            model_name='accountwatch',
            name='reason',
            field=models.CharField(blank=True, max_length=200, verbose_name='why the last attempt failed'),
        ),
        migrations.AddIndex(
            model_name='accountwatch',
            index=models.Index(condition=models.Q(('next_attempt_at__isnull', False)), fields=['next_attempt_at'], name='accountwatch_due'),
        ),
    ]
