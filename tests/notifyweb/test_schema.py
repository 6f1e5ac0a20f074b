"""A schema that differs from the migrations is refused in one sentence."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.db import connection

from notifyweb import startup
from notifyweb.environment import SettingError
from notifyweb.schema import expected_schema, live_schema, schema_differences
from tests.system import System

# The first of them, and the like in other tables, came by edits of ``0001_initial``.
WRONG = {
    "ALTER TABLE subscriptions_subscribeattempt DROP COLUMN leased_by": (
        "no column subscriptions_subscribeattempt.leased_by integer"
    ),
    "ALTER TABLE castserver_project ADD COLUMN colour text": (
        "an unknown column castserver_project.colour text"
    ),
    "ALTER TABLE accounts_device ALTER COLUMN name TYPE varchar(999)": (
        "no column accounts_device.name character varying"
    ),
    "ALTER TABLE accounts_device ALTER COLUMN name DROP NOT NULL": (
        "no column accounts_device.name character varying"
    ),
    "ALTER TABLE accounts_device ALTER COLUMN name TYPE text": (
        "no column accounts_device.name character varying"
    ),
    "ALTER TABLE accounts_account ALTER COLUMN id DROP IDENTITY": (
        "no column accounts_account.id bigint not null identity"
    ),
    "DROP INDEX notify_message_unread": "no index notify_message_unread",
    "ALTER INDEX notify_message_unread RENAME TO other": "no index notify_message_unread",
    "ALTER TABLE subscriptions_notifymessagerecord "
    "DROP CONSTRAINT notify_message_id_is_unique": (
        "no unique index notify_message_id_is_unique"
    ),
    "CREATE UNIQUE INDEX once ON castserver_project (name)": (
        "an unknown unique index of castserver_project (name)"
    ),
    "ALTER TABLE accounts_device ADD CHECK (name <> 'x')": (
        "an unknown check of accounts_device.name"
    ),
    "DROP TABLE dashboard_formsubmission": "no column dashboard_formsubmission",
}


@pytest.mark.django_db
def test_a_fresh_database_has_the_schema_of_the_models():
    assert schema_differences() == []


@pytest.mark.django_db
def test_an_extra_index_is_accepted():
    with connection.cursor() as cursor:
        cursor.execute("CREATE INDEX extra ON castserver_project (name)")
    assert startup.wrong_schema() == ""


@pytest.mark.django_db
@pytest.mark.parametrize("statement", WRONG)
def test_a_wrong_schema_is_refused_in_one_sentence(statement):
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute(statement)
    found = schema_differences()
    assert any(line.startswith(WRONG[statement]) for line in found), found
    with pytest.raises(SettingError, match="start the version that made it") as refused:
        startup.check_startup()
    assert "\n" not in str(refused.value)
    assert str(refused.value).count(". ") == 0


@pytest.mark.django_db
def test_every_index_check_and_foreign_key_is_compared():
    """Dropping any of them is detected."""
    expected = expected_schema(apps.get_app_config("castserver").get_models())
    live = live_schema(expected)
    for kind in ("column", "index", "unique index", "primary key", "foreign key"):
        assert any(line.startswith(f"{kind} ") for line in expected.lines), kind
    assert expected.lines == live


@pytest.mark.system
def test_the_start_on_a_wrong_schema_ends_with_two_and_one_sentence():
    system = System()
    edit = "ALTER TABLE castserver_webhook DROP COLUMN url"
    code = f"from django.db import connection; connection.cursor().execute({edit!r})"
    try:
        system.start()
        system.manage("shell", "--no-imports", "-c", code)
        assert system.stop() == 0
        # Nothing is prepared again, since no file has changed.
        system.launch()
        assert system.wait_for_end(60) == 2
        assert "no column castserver_webhook.url" in system.output()
        (system.data_dir / "data" / "prepared").unlink()
        for command in ("prepare", "run", "daphne"):
            refused = system.manage(command, check=False)
            assert refused.returncode == 2, refused
            output = refused.stdout + refused.stderr
            assert output.count("no column castserver_webhook.url") == 1
            assert "Traceback" not in output
    finally:
        system.remove()
