"""URLs of the web process. Each app owns the paths below its prefix."""

from __future__ import annotations

from django.conf import settings
from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

from notifyweb import health

urlpatterns: list[URLPattern | URLResolver] = [
    *(path(name, view, name=name) for name, view in health.PROBES.items()),
    path("", include("identity.urls")),
    path("history/", include("history.urls")),
    path("", include("castserver.urls")),
    path("", include("dashboard.urls")),
    path("", include("notifyweb.operations.urls")),
]
if settings.ADMIN:
    urlpatterns.append(path("admin/", admin.site.urls))

handler400 = "notifyweb.errors.bad_request"
handler403 = "notifyweb.errors.permission_denied"
handler404 = "notifyweb.errors.page_not_found"
handler500 = "notifyweb.errors.server_error"
