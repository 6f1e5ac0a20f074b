from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('castserver', '0005_webhooks_as_work_items'),
    ]

    operations = [
        migrations.AddField(
            model_name='idempotentcall',
            name='leased_by',
            field=models.IntegerField(blank=True, editable=False, help_text="backend pid of the worker's database session", null=True),
        ),
        migrations.AlterField(
            model_name='idempotentcall',
            name='leased_until',
            field=models.DateTimeField(blank=True, editable=False, null=True),
        ),
    ]
