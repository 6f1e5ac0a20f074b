"""Old audit entries may be deleted, by an operator's setting and by nothing else.

Written by hand. Deletion needs an entry older than a month and a transaction that
declares itself; a stray DELETE fails as before.
"""

from django.db import migrations

FORWARD = """
CREATE OR REPLACE FUNCTION accounts_audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' THEN
    IF current_setting('notifyweb.prunes_audit', true) = 'on'
       AND OLD.at < now() - interval '30 days' THEN
      RETURN OLD;
    END IF;
    RAISE EXCEPTION 'the audit log is append-only';
  END IF;
  IF (NEW.id, NEW.at, NEW.action, NEW.actor, NEW.subject, NEW.detail)
       IS DISTINCT FROM (OLD.id, OLD.at, OLD.action, OLD.actor, OLD.subject, OLD.detail)
     OR (NEW.user_id IS NOT NULL AND NEW.user_id IS DISTINCT FROM OLD.user_id)
     OR (NEW.device_id IS NOT NULL AND NEW.device_id IS DISTINCT FROM OLD.device_id)
     OR (NEW.account_id IS NOT NULL AND NEW.account_id IS DISTINCT FROM OLD.account_id)
  THEN
    RAISE EXCEPTION 'the audit log is append-only';
  END IF;
  RETURN NEW;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("accounts", "0003_account_key")]

    operations = [migrations.RunSQL(FORWARD, migrations.RunSQL.noop)]
