"""Every project's address in its one spelling, and room for the longest that DNS allows.

Of projects that name one dapp in two spellings, the one that has the right spelling holds
the address, else the oldest. The others keep what they have, which nothing looks up any
more, until their owners change it.
"""

from django.db import migrations, models

from walletconnect.errors import RemoteProtocolError
from walletconnect.identity.app_url import AppUrl


def normalize_addresses(apps, schema_editor):
    projects = apps.get_model("castserver", "Project").objects
    taken = set(projects.values_list("url", flat=True))
    for pk, url in projects.order_by("created_at", "pk").values_list("pk", "url"):
        try:
            address = str(AppUrl.parse(url))
        except RemoteProtocolError:
            continue
        if address == url:
            continue
        if address not in taken:
            projects.filter(pk=pk).update(url=address)
            taken.add(address)


class Migration(migrations.Migration):

    dependencies = [("castserver", "0006_idempotency_lease_ends_with_its_session")]

    operations = [
        migrations.AlterField(
            model_name="project",
            name="url",
            field=models.CharField(max_length=512, unique=True),
        ),
        migrations.AlterField(
            model_name="webhook",
            name="url",
            field=models.CharField(max_length=2048),
        ),
        migrations.AlterField(
            model_name="watcher",
            name="app_domain",
            field=models.CharField(blank=True, max_length=512),
        ),
        migrations.AlterField(
            model_name="changedsubscriptions",
            name="app_domain",
            field=models.CharField(max_length=512),
        ),
        migrations.RunPython(normalize_addresses, migrations.RunPython.noop),
    ]
