"""Static files with digests in their names, which browsers cache for ever."""

from __future__ import annotations

from whitenoise.storage import CompressedManifestStaticFilesStorage

_, IMPORTS = CompressedManifestStaticFilesStorage._js_module_import_aggregation_patterns


class HashedStorage(CompressedManifestStaticFilesStorage):  # type: ignore[misc]
    # Our scripts are modules: their imports must use the hashed names, too. Vendored bundles
    # import nothing, and scanning them takes seconds.
    patterns = (*CompressedManifestStaticFilesStorage.patterns, ("js/*.js", IMPORTS))
