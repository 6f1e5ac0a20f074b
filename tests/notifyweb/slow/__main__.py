"""Serves on the port that it is given."""

import os
import sys

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.notifyweb.slow.settings"

if __name__ == "__main__":
    import django

    django.setup()
    from django.db import connection

    from notifyweb.startup import check_startup
    from notifyweb.web import serve

    check_startup()
    connection.close()
    serve(bind="127.0.0.1", port=int(sys.argv[1]))
