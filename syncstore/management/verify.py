"""Compares the stores of accounts with the archive; ``manage.py verify-sync``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from django.core.management.base import BaseCommand, CommandError

from accounts.models import Account, Device
from history.client import HistoryUnavailable
from syncstore.services import CannotVerify, devices_behind, verify_account
from walletconnect.identity.did import with_chain

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from syncstore.services import StoreReport

DIFFERENT: Final = 1
NOT_VERIFIED: Final = 2


class Command(BaseCommand):
    help = (
        "Rebuild the Sync stores of accounts from the archive and compare them with what "
        "is here. Changes nothing. Exit code 0: identical, 1: differences, 2: could not "
        "be compared."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "address",
            nargs="*",
            help="CAIP-10, or a bare 0x address; default: every account that uses Sync",
        )
        parser.add_argument("--json", action="store_true", help="one object a line")

    def handle(self, *_: Any, **options: Any) -> None:
        as_json: bool = options["json"]
        accounts = self._accounts(options["address"])
        worst = 0
        for account in accounts:
            try:
                reports = verify_account(account)
            except (HistoryUnavailable, CannotVerify) as error:
                self._show({"account": account.address, "error": str(error)}, as_json)
                worst = NOT_VERIFIED
                continue
            value = self._value(account, reports)
            self._show(value, as_json)
            if not value["identical"]:
                worst = max(worst, DIFFERENT)
        if not accounts and not as_json:
            self.stdout.write("No account here uses Sync.")
        if worst:
            # The lines above are the explanation.
            raise SystemExit(worst)

    def _accounts(self, addresses: list[str]) -> list[Account]:
        synced = Account.objects.filter(stores__isnull=False).distinct()
        if not addresses:
            return list(synced.order_by("pk"))
        found = []
        for text in addresses:
            account = Account.objects.at(with_chain(text.strip())).first()
            if account is None:
                raise CommandError(
                    f"{text}: there is no such account here", returncode=NOT_VERIFIED
                )
            if not account.stores.exists():
                raise CommandError(
                    f"{text}: Sync is off for this account", returncode=NOT_VERIFIED
                )
            found.append(account)
        return found

    def _value(self, account: Account, reports: list[StoreReport]) -> dict[str, Any]:
        behind = [device.name for device in devices_behind(account)]
        active = Device.objects.active().filter(user_id=account.user_id)
        return {
            "account": account.address,
            "devices": active.count(),
            "behind": behind,
            "stores": [report.to_value() for report in reports],
            "identical": not behind and not any(each.differences for each in reports),
        }

    def _show(self, value: dict[str, Any], as_json: bool) -> None:  # noqa: FBT001
        if as_json:
            self.stdout.write(json.dumps(value))
            return
        if "error" in value:
            self.stdout.write(f"{value['account']}: not compared: {value['error']}")
            return
        devices, stores = value["devices"], value["stores"]
        verdict = "identical" if value["identical"] else "different"
        self.stdout.write(
            f"{value['account']}: {devices} {'device' if devices == 1 else 'devices'}, "
            f"{len(stores)} {'store' if len(stores) == 1 else 'stores'}, {verdict}"
        )
        for name in value["behind"]:
            self.stdout.write(f"  {name} has not applied the newest update")
        for store in stores:
            for each in store["differences"]:
                self.stdout.write(
                    f"  {store['store']} {each['key']}: {each['kind']} "
                    f"(id here {each['here'] or '-'}, archive {each['archive'] or '-'})"
                )
