"""The relay server keeps its own tables; those of our relay clients and the run log move out.

Tables are only renamed, so this takes no time whatever they hold.
"""

from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('relay', '0001_initial'),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.AlterModelTable('InboxMessage', 'messaging_inboxmessage'),
                migrations.AlterModelTable('OutboxMessage', 'messaging_outboxmessage'),
                migrations.AlterModelTable('PartyClient', 'messaging_partyclient'),
                migrations.AlterModelTable('TopicSubscription', 'messaging_topicsubscription'),
                migrations.AlterModelTable('StepRecord', 'runlog_steprecord'),
            ],
            state_operations=[
                migrations.DeleteModel('InboxMessage'),
                migrations.DeleteModel('OutboxMessage'),
                migrations.DeleteModel('PartyClient'),
                migrations.DeleteModel('TopicSubscription'),
                migrations.DeleteModel('StepRecord'),
            ],
        ),
    ]
