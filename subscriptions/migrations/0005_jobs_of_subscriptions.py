import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('subscriptions', '0004_reading_documents_as_work_items'),
    ]

    operations = [
        migrations.CreateModel(
            name='SubscriptionJob',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('leased_until', models.DateTimeField(blank=True, editable=False, null=True)),
                ('leased_by', models.IntegerField(blank=True, editable=False, help_text="backend pid of the worker's database session", null=True)),
                ('attempts', models.PositiveSmallIntegerField(default=0)),
                ('next_attempt_at', models.DateTimeField(blank=True, null=True)),
                ('reason', models.CharField(blank=True, max_length=200, verbose_name='why the last attempt failed')),
                ('kind', models.CharField(choices=[('history', 'read older messages from History'), ('complete', 'read the documents of a listed dapp, write the store'), ('reads', 'ask the server what was read in other clients')], max_length=8)),
            ],
        ),
        migrations.AddField(
            model_name='subscriptionjob',
            name='subscription',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='jobs', to='subscriptions.subscription'),
        ),
        migrations.AddIndex(
            model_name='subscriptionjob',
            index=models.Index(condition=models.Q(('next_attempt_at__isnull', False)), fields=['next_attempt_at'], name='subscriptionjob_due'),
        ),
        migrations.AddConstraint(
            model_name='subscriptionjob',
            constraint=models.UniqueConstraint(fields=('subscription', 'kind'), name='subscription_job_is_unique'),
        ),
        migrations.RunSQL(
            """
            INSERT INTO subscriptions_subscriptionjob
                (subscription_id, kind, attempts, next_attempt_at, reason)
            SELECT id, 'history', history_attempts, history_due_at, history_reason
                FROM subscriptions_subscription
                WHERE history_due_at IS NOT NULL OR history_reason <> ''
            UNION ALL SELECT id, 'complete', 0, complete_due_at, ''
                FROM subscriptions_subscription WHERE complete_due_at IS NOT NULL
            UNION ALL SELECT id, 'reads', 0, reads_due_at, ''
                FROM subscriptions_subscription WHERE reads_due_at IS NOT NULL;
            SET CONSTRAINTS ALL IMMEDIATE;
            SET CONSTRAINTS ALL DEFERRED
            """,
            migrations.RunSQL.noop,
        ),
        migrations.RemoveIndex(
            model_name='subscription',
            name='subscription_history_due',
        ),
        migrations.RemoveIndex(
            model_name='subscription',
            name='subscription_to_complete',
        ),
        migrations.RemoveIndex(
            model_name='subscription',
            name='subscription_reads_due',
        ),
        migrations.RemoveField(
            model_name='subscription',
            name='complete_due_at',
        ),
        migrations.RemoveField(
            model_name='subscription',
            name='history_attempts',
        ),
        migrations.RemoveField(
            model_name='subscription',
            name='history_due_at',
        ),
        migrations.RemoveField(
            model_name='subscription',
            name='history_reason',
        ),
        migrations.RemoveField(
            model_name='subscription',
            name='reads_due_at',
        ),
        migrations.AlterField(
            model_name='subscription',
            name='unread_told',
            field=models.PositiveIntegerField(blank=True, null=True, verbose_name='unread, as the server counted when we decided to ask which'),
        ),
    ]
