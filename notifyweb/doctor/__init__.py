"""The checks of an installation, each with what was found and what to do.

``manage.py doctor`` prints them and ``/ops`` shows them.
"""
