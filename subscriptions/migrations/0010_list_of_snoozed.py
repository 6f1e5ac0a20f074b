from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('subscriptions', '0009_merge_dead_letters_and_tabs'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='notifymessagerecord',
            index=models.Index(condition=models.Q(('archived_at', None), ('deleted_at', None), ('snoozed_until__isnull', False)), fields=['subscription', '-published_at', '-id'], name='notify_message_in_snoozed'),
        ),
    ]
