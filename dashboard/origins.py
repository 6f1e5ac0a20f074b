"""Which origins are this site: scheme, host and port, also when ALLOWED_HOSTS is ``*``."""

from __future__ import annotations

from urllib.parse import urlsplit

from django.conf import settings

from identity.services.sign_in import own_domains


def is_own_origin(origin: str) -> bool:
    """Whether a browser socket's ``Origin`` is the public URL, or this machine itself
    when everything is embedded."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    public = urlsplit(settings.PUBLIC_URL)
    if (parts.scheme, parts.netloc.lower()) == (public.scheme, public.netloc.lower()):
        return True
    is_bare = not parts.path and not parts.query
    return is_bare and parts.scheme == "http" and parts.netloc.lower() in own_domains()
