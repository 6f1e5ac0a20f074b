"""An app whose handler answers every message, for tests with real workers."""
