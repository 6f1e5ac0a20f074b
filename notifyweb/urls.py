"""URLs of the web process. Each app owns the paths below its prefix."""

from __future__ import annotations

from importlib.util import find_spec

from django.conf import settings
from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

from notifyweb import health

PREFIXES = {
    "identity": "",
    "history": "history/",
    "castserver": "",
    "dashboard": "",
}


def _urls_of_apps() -> list[URLPattern | URLResolver]:
    return [
        path(prefix, include(f"{app}.urls"))
        for app, prefix in PREFIXES.items()
        if find_spec(f"{app}.urls") is not None
    ]


urlpatterns: list[URLPattern | URLResolver] = [
    *(path(name, view, name=name) for name, view in health.PROBES.items()),
    *_urls_of_apps(),
]
if settings.ADMIN:
    urlpatterns.append(path("admin/", admin.site.urls))

handler400 = "notifyweb.errors.bad_request"
handler403 = "notifyweb.errors.permission_denied"
handler404 = "notifyweb.errors.page_not_found"
handler500 = "notifyweb.errors.server_error"
