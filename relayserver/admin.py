"""Admin pages of the embedded relay.

Django's admin does not support the composite keys of ``MailboxCursor`` and
``Acknowledgement``.
"""

from __future__ import annotations

from django.contrib import admin

from accounts.admin import ReadOnlyAdmin, SizedAdmin
from relayserver.models import ArchivedTag, PublishedMessage, RelayLog


@admin.register(PublishedMessage)
class PublishedMessageAdmin(SizedAdmin):
    hidden = ("message", "attestation")
    list_display = ("id", "tag", "topic", "publisher", "size", "published_at")
    search_fields = ("=topic", "=message_id")


@admin.register(RelayLog)
class RelayLogAdmin(ReadOnlyAdmin):
    list_display = ("id", "head")


@admin.register(ArchivedTag)
class ArchivedTagAdmin(ReadOnlyAdmin):
    list_display = ("tag", "since")
