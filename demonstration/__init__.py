"""``manage.py demo``: runs the whole protocol against a running system."""
