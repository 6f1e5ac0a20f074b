"""The lower six digits of JSON-RPC ids (``castserver.services.ids``)."""

from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [("castserver", "0001_initial")]

    operations = [
        migrations.RunSQL(
            "CREATE SEQUENCE castserver_rpc_id"
            " MINVALUE 0 MAXVALUE 999999 START 0 CYCLE",
            "DROP SEQUENCE castserver_rpc_id",
        )
    ]
