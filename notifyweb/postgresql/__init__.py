"""Django's PostgreSQL backend, with settings that each session begins with."""
