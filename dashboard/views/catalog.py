"""The texts of the scripts in one language."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from django.http import Http404
from django.utils import translation
from django.utils.cache import patch_cache_control
from django.views.decorators.http import require_safe
from django.views.i18n import JavaScriptCatalog

from dashboard import appearance
from dashboard.access import public

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

_catalog = JavaScriptCatalog.as_view()


@public
@require_safe
def catalog(request: HttpRequest, language: str) -> HttpResponse:
    """``gettext`` and its translations. The language is in the URL, so caches keep them
    apart."""
    if language not in appearance.LANGUAGES:
        raise Http404
    with translation.override(language):
        response = _catalog(request)
    patch_cache_control(response, public=True, max_age=600)
    return cast("HttpResponse", response)
