"""``manage.py contract_wallet``: the chain that a smart-contract wallet's address belongs to.

It is the first on which the contract accepted a signature here; docs/security.md has the
reason, and when an operator has to name another.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError

from identity.models import ContractWallet
from identity.services.contract_wallets import move_wallet

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BaseCommand):
    help = "Show or change the chain that a smart-contract wallet's address belongs to."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("address", help="0x and 40 hexadecimal digits")
        parser.add_argument(
            "--chain",
            type=int,
            help="make the address belong to its contract on this chain; signatures of "
            "other chains end, and the account's devices are signed out",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        address, chain_id = options["address"], options["chain"]
        if not re.fullmatch(r"0x[0-9a-fA-F]{40}", address):
            raise CommandError("The address must be 0x and 40 hexadecimal digits.")
        if chain_id is not None:
            if chain_id < 1:
                raise CommandError("The chain must be a number from 1.")
            count = move_wallet(address, chain_id)
            self.stdout.write(
                f"Moved to chain {chain_id}. Devices signed out: {count}."
            )
            return
        wallet = ContractWallet.objects.filter(address=address.lower()).first()
        if wallet is None:
            raise CommandError("No contract at this address has signed here.")
        self.stdout.write(
            f"chain {wallet.chain_id}, since {wallet.accepted_at:%Y-%m-%d}"
        )
