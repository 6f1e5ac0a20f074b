import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0003_account_key'),
        ('subscriptions', '0011_signed_messages_count_once'),
    ]

    operations = [
        migrations.CreateModel(
            name='BlockedDapp',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('dapp_url', models.CharField(max_length=2048)),
                ('name', models.CharField(max_length=128)),
                ('types', models.JSONField(default=list)),
                ('created_at', models.DateTimeField()),
                ('account', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='blocked_dapps', to='accounts.account')),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('account', 'dapp_url'), name='blocked_dapp_is_unique')],
            },
        ),
    ]
