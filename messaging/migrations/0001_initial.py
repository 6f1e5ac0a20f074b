"""The tables were made by the ``relay`` app of the first release, which also renames them."""

from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('relay', '0002_split_from_messaging'),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.CreateModel(
                    name='InboxMessage',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('party', models.CharField(choices=[('wallet', 'Wallet'), ('cast', 'Cast')], max_length=8)),
                        ('topic', models.CharField(max_length=64)),
                        ('message_id', models.CharField(help_text='sha256(message)', max_length=64)),
                        ('message', models.TextField(blank=True, help_text='the envelope, as received; empty once handled')),
                        ('tag', models.IntegerField()),
                        ('published_at', models.BigIntegerField(help_text='milliseconds')),
                        ('received_at', models.DateTimeField()),
                        ('state', models.CharField(choices=[('due', 'Due'), ('handled', 'Handled'), ('refused', 'Refused'), ('failed', 'Failed')], default='due', max_length=8)),
                        ('attempts', models.PositiveSmallIntegerField(default=0)),
                        ('next_attempt_at', models.DateTimeField()),
                        ('leased_until', models.DateTimeField(blank=True, null=True)),
                        ('leased_by', models.IntegerField(blank=True, help_text="number of the worker's database session", null=True)),
                        ('reason', models.CharField(blank=True, max_length=200)),
                        ('handled_at', models.DateTimeField(blank=True, null=True)),
                    ],
                    options={
                        'indexes': [models.Index(condition=models.Q(('state', 'due')), fields=['id'], name='inbox_message_due'), models.Index(condition=models.Q(('leased_until__isnull', False), ('state', 'due')), fields=['party', 'topic'], name='inbox_message_leased'), models.Index(condition=models.Q(('state', 'failed')), fields=['id'], name='inbox_message_failed'), models.Index(fields=['received_at'], name='inbox_message_by_age')],
                        'constraints': [models.UniqueConstraint(fields=('party', 'topic', 'message_id'), name='inbox_message_is_unique')],
                    },
                ),
                migrations.CreateModel(
                    name='OutboxMessage',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('party', models.CharField(choices=[('wallet', 'Wallet'), ('cast', 'Cast')], max_length=8)),
                        ('topic', models.CharField(max_length=64)),
                        ('message_id', models.CharField(help_text='sha256(message)', max_length=64)),
                        ('message', models.TextField()),
                        ('tag', models.IntegerField()),
                        ('ttl', models.PositiveIntegerField(help_text='seconds')),
                        ('prompt', models.BooleanField(default=False)),
                        ('state', models.CharField(choices=[('due', 'Due'), ('sent', 'Sent'), ('failed', 'Failed')], default='due', max_length=8)),
                        ('attempts', models.PositiveSmallIntegerField(default=0)),
                        ('next_attempt_at', models.DateTimeField()),
                        ('reason', models.CharField(blank=True, max_length=200)),
                        ('created_at', models.DateTimeField()),
                        ('sent_at', models.DateTimeField(blank=True, null=True)),
                    ],
                    options={
                        'indexes': [models.Index(condition=models.Q(('state', 'due')), fields=['party', 'id'], name='outbox_message_due'), models.Index(condition=models.Q(('attempts__gt', 0), ('state', 'due')), fields=['party', 'next_attempt_at'], name='outbox_message_backing_off'), models.Index(fields=['created_at'], name='outbox_message_by_age')],
                    },
                ),
                migrations.CreateModel(
                    name='PartyClient',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('party', models.CharField(choices=[('wallet', 'Wallet'), ('cast', 'Cast')], max_length=8)),
                        ('lane', models.PositiveSmallIntegerField(default=0)),
                        ('did', models.CharField(max_length=64)),
                        ('last_seen_at', models.DateTimeField(blank=True, null=True)),
                        ('connected_since', models.DateTimeField(blank=True, null=True)),
                    ],
                    options={
                        'constraints': [models.UniqueConstraint(fields=('party', 'lane'), name='party_client_is_unique')],
                    },
                ),
                migrations.CreateModel(
                    name='TopicSubscription',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('party', models.CharField(choices=[('wallet', 'Wallet'), ('cast', 'Cast')], max_length=8)),
                        ('topic', models.CharField(max_length=64)),
                        ('state', models.CharField(choices=[('wanted', 'Wanted'), ('unwanted', 'Unwanted')], default='wanted', max_length=8)),
                        ('lane', models.PositiveSmallIntegerField(blank=True, null=True)),
                        ('steps', models.JSONField(blank=True, default=list)),
                        ('changed_at', models.DateTimeField()),
                        ('confirmed_at', models.DateTimeField(blank=True, null=True)),
                    ],
                    options={
                        'indexes': [models.Index(condition=models.Q(('confirmed_at', None)), fields=['party', 'id'], name='topic_subscription_pending'), models.Index(condition=models.Q(('lane', None)), fields=['party', 'id'], name='topic_subscription_laneless')],
                        'constraints': [models.UniqueConstraint(fields=('party', 'topic'), name='topic_subscription_is_unique')],
                    },
                ),
            ],
        ),
    ]
