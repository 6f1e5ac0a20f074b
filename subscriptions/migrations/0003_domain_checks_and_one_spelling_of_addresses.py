"""Checks of domains, room for the longest host names, one spelling of dapp addresses.

What is kept of a dapp under a second spelling is dropped: it is read again, and the keys
that were pinned under the first spelling hold.
"""

import uuid

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

from walletconnect.errors import RemoteProtocolError
from walletconnect.identity.app_url import AppUrl


def normalize_addresses(apps, schema_editor):
    subscriptions = apps.get_model("subscriptions", "Subscription").objects
    attempts = apps.get_model("subscriptions", "SubscribeAttempt").objects
    documents = apps.get_model("subscriptions", "DappDocument").objects
    for rows in (subscriptions, attempts):
        for url, address in _respelled(rows.values_list("dapp_url", flat=True).distinct()):
            found = rows.filter(dapp_url=url)
            if rows is attempts:
                # One open attempt per account and dapp is allowed.
                open_states = ["resolving", "requested"]
                here = rows.filter(dapp_url=address, state__in=open_states)
                found.filter(
                    state__in=open_states, account_id__in=here.values("account_id")
                ).update(state="rejected", reason="Another attempt is running.")
            found.update(dapp_url=address)
    known = set(documents.values_list("url", flat=True))
    for url, address in _respelled(sorted(known)):
        if address in known:
            documents.filter(url=url).delete()
            continue
        domain = address.partition("://")[2]
        documents.filter(url=url).update(url=address, domain=domain)
        known.add(address)


def _respelled(urls):
    """Those that have another spelling now, with it."""
    for url in urls:
        try:
            address = str(AppUrl.parse(url))
        except RemoteProtocolError:
            continue
        if address != url:
            yield url, address


class Migration(migrations.Migration):

    dependencies = [
        ("subscriptions", "0002_who_changed_the_types"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AlterField(
            model_name="dappdocument",
            name="domain",
            field=models.CharField(max_length=512),
        ),
        migrations.AlterField(
            model_name="dappdocument",
            name="url",
            field=models.CharField(
                max_length=512, unique=True, verbose_name="dapp URL"
            ),
        ),
        migrations.AlterField(
            model_name="subscribeattempt",
            name="dapp_url",
            field=models.CharField(max_length=512),
        ),
        migrations.AlterField(
            model_name="watchedserver",
            name="url",
            field=models.CharField(max_length=512, unique=True),
        ),
        migrations.CreateModel(
            name="DomainCheck",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("url", models.CharField(max_length=512, verbose_name="dapp URL")),
                (
                    "lines",
                    models.JSONField(
                        blank=True,
                        default=list,
                        help_text="[{label, state, text, remedy}]",
                    ),
                ),
                (
                    "waits_for",
                    models.CharField(
                        blank=True,
                        max_length=64,
                        verbose_name="document that is being fetched",
                    ),
                ),
                ("waits_since", models.DateTimeField(blank=True, null=True)),
                ("offer", models.JSONField(blank=True, null=True)),
                (
                    "leased_by",
                    models.IntegerField(
                        blank=True,
                        help_text="number of the worker's database session",
                        null=True,
                    ),
                ),
                ("created_at", models.DateTimeField()),
                ("finished_at", models.DateTimeField(blank=True, null=True)),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="domain_checks",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("finished_at", None)),
                        fields=["created_at"],
                        name="domain_check_running",
                    ),
                    models.Index(fields=["created_at"], name="domain_check_by_age"),
                ],
            },
        ),
        migrations.RunPython(normalize_addresses, migrations.RunPython.noop),
    ]
