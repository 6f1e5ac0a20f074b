"""Django's PostgreSQL backend with per-session settings."""
