"""A web process with pages that wait, for the tests of callers that do not.

``python -m tests.notifyweb.slow PORT`` serves the real application, with the pages of
``urls`` beside its own, from the database and the Redis of the test run.
"""
