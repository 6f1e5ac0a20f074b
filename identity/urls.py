"""``/identity`` and ``/invite`` at the root, so that the public URL is the server's base."""

from __future__ import annotations

from identity.views import api

app_name = "identity"

urlpatterns = api.patterns()
