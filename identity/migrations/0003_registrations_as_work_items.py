from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('identity', '0002_invites_without_chain'),
    ]

    operations = [
        migrations.RenameIndex(
            model_name='identitykey',
            new_name='identitykey_due',
            old_name='identity_key_to_register',
        ),
        migrations.RenameIndex(
            model_name='identityunregistration',
            new_name='identityunregistration_due',
            old_name='identity_key_to_unregister',
        ),
        migrations.AddField(
            model_name='identitykey',
            name='leased_by',
            field=models.IntegerField(blank=True, editable=False, help_text="backend pid of the worker's database session", null=True),
        ),
        migrations.AddField(
            model_name='identitykey',
            name='leased_until',
            field=models.DateTimeField(blank=True, editable=False, null=True),
        ),
        migrations.AddField(
            model_name='identityunregistration',
            name='leased_by',
            field=models.IntegerField(blank=True, editable=False, help_text="backend pid of the worker's database session", null=True),
        ),
        migrations.AddField(
            model_name='identityunregistration',
            name='leased_until',
            field=models.DateTimeField(blank=True, editable=False, null=True),
        ),
        migrations.AlterField(
            model_name='identitykey',
            name='reason',
            field=models.CharField(blank=True, max_length=200, verbose_name='why the last attempt failed'),
        ),
        migrations.AlterField(
            model_name='identityunregistration',
            name='reason',
            field=models.CharField(blank=True, max_length=200, verbose_name='why the last attempt failed'),
        ),
    ]
