"""Static files under names that carry their digest, so that browsers keep them."""

from __future__ import annotations

from whitenoise.storage import CompressedManifestStaticFilesStorage


class HashedStorage(CompressedManifestStaticFilesStorage):  # type: ignore[misc]
    # Our scripts are modules: their imports have to name the hashed files too.
    support_js_module_import_aggregation = True
