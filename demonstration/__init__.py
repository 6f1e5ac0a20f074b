"""The demonstration: the whole protocol run against a live system, for ``manage.py demo``."""
