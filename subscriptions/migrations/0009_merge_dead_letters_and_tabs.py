from django.db import migrations


class Migration(migrations.Migration):
    # Two migrations with the number 8 were added at the same time; they are independent.

    dependencies = [
        ('subscriptions', '0008_dead_letters'),
        ('subscriptions', '0008_tabs_of_the_inbox'),
    ]

    operations = []
