from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0003_account_key'),
        ('subscriptions', '0003_domain_checks_and_one_spelling_of_addresses'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.RemoveIndex(
            model_name='subscribeattempt',
            name='subscribe_attempt_to_resolve',
        ),
        migrations.AddField(
            model_name='domaincheck',
            name='attempts',
            field=models.PositiveSmallIntegerField(default=0),
        ),
        migrations.AddField(
            model_name='domaincheck',
            name='leased_until',
            field=models.DateTimeField(blank=True, editable=False, null=True),
        ),
        migrations.AddField(
            model_name='domaincheck',
            name='next_attempt_at',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='domaincheck',
            name='reason',
            field=models.CharField(blank=True, max_length=200, verbose_name='why the last attempt failed'),
        ),
        migrations.AddField(
            model_name='subscribeattempt',
            name='leased_until',
            field=models.DateTimeField(blank=True, editable=False, null=True),
        ),
        migrations.AlterField(
            model_name='domaincheck',
            name='leased_by',
            field=models.IntegerField(blank=True, editable=False, help_text="backend pid of the worker's database session", null=True),
        ),
        migrations.AlterField(
            model_name='subscribeattempt',
            name='leased_by',
            field=models.IntegerField(blank=True, editable=False, help_text="backend pid of the worker's database session", null=True),
        ),
        migrations.AlterField(
            model_name='subscribeattempt',
            name='reason',
            field=models.CharField(blank=True, max_length=200, verbose_name='why the last attempt failed'),
        ),
        migrations.AddIndex(
            model_name='domaincheck',
            index=models.Index(condition=models.Q(('next_attempt_at__isnull', False)), fields=['next_attempt_at'], name='domaincheck_due'),
        ),
        migrations.AddIndex(
            model_name='subscribeattempt',
            index=models.Index(condition=models.Q(('next_attempt_at__isnull', False)), fields=['next_attempt_at'], name='subscribeattempt_due'),
        ),
        migrations.RunSQL(
            """
            UPDATE subscriptions_subscribeattempt SET next_attempt_at = NULL WHERE state <> 'resolving'
            """,
            migrations.RunSQL.noop,
        ),
    ]
