from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('alerts', '0002_dead_letters'),
    ]

    operations = [
        migrations.AlterField(
            model_name='digest',
            name='frequency',
            field=models.CharField(choices=[('daily', 'Every day'), ('weekly', 'Every Monday'), ('never', 'Never, only mails about my dapps')], max_length=8),
        ),
    ]
