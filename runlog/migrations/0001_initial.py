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
                    name='StepRecord',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('run', models.CharField(max_length=64)),
                        ('step', models.PositiveSmallIntegerField()),
                        ('actor', models.CharField(help_text='W1, Cast Server, Dapp, Wx', max_length=64)),
                        ('actor_key', models.CharField(blank=True, max_length=64)),
                        ('at', models.DateTimeField()),
                        ('wire', models.JSONField(default=dict)),
                    ],
                    options={
                        'constraints': [models.UniqueConstraint(fields=('run', 'step', 'actor_key'), name='step_record_is_unique')],
                    },
                ),
            ],
        ),
    ]
