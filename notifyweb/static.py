"""Static files under names that carry their digest, so that browsers keep them."""

from __future__ import annotations

from whitenoise.storage import CompressedManifestStaticFilesStorage

_, IMPORTS = CompressedManifestStaticFilesStorage._js_module_import_aggregation_patterns


class HashedStorage(CompressedManifestStaticFilesStorage):  # type: ignore[misc]
    # Our scripts are modules: their imports have to name the hashed files too. The bundles
    # of others import nothing, and looking for it in them takes seconds.
    patterns = (*CompressedManifestStaticFilesStorage.patterns, ("js/*.js", IMPORTS))
