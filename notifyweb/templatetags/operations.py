"""Tags of ``/ops``: bounded counts and links to rows in the admin."""

from __future__ import annotations

from typing import Any

from django import template
from django.conf import settings
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from notifyweb.operations import queues

register = template.Library()
register.filter("bounded", queues.bounded)


@register.simple_tag
def admin_link(row: Any) -> SafeString:
    """``row`` by its text, linked to its page in the admin if there is one."""
    if row is None:
        return SafeString("&ndash;")
    if settings.ADMIN:
        name = f"admin:{row._meta.app_label}_{row._meta.model_name}_change"
        try:
            url = reverse(name, args=[row.pk])
        except NoReverseMatch:
            pass
        else:
            return format_html('<a href="{}">{}</a>', url, row)
    return format_html("{}", row)
