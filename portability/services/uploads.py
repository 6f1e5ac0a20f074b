"""An upload that was checked, kept until the person confirms or ten minutes are over."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from django.db import transaction

from accounts.models import Account
from common import clock
from keychain.services import open_sealed, seal
from portability.models import PreparedImport, PreparedImportPart
from portability.services.importing import import_file

if TYPE_CHECKING:
    from uuid import UUID

    from accounts.models import Device
    from portability.services.importing import ImportReport

PART_BYTES: Final = 256 * 1024
WAITS_FOR: Final = timedelta(minutes=10)


class ImportGone(Exception):
    """The upload was imported already, replaced by a later one, or is too old."""


def prepare_import(device: Device, file: BinaryIO, passphrase: str) -> PreparedImport:
    """Check the file and keep it with a preview. Raises ``ExportFileError``."""
    accounts = Account.objects.of_user(device.user_id)
    report = import_file(
        file, accounts, passphrase=passphrase, device=device, dry_run=True
    )
    row = PreparedImport(
        device=device,
        account=accounts.get(address=report.account),
        preview=report.to_value(),
        created_at=clock.now(),
    )
    if passphrase:
        row.sealed_passphrase = seal(row.context, passphrase.encode())
    file.seek(0)
    with transaction.atomic():
        # One upload of a device waits at a time.
        PreparedImport.objects.filter(device=device).delete()
        row.save(force_insert=True)
        number = 0
        while content := file.read(PART_BYTES):
            PreparedImportPart.objects.create(
                prepared=row, number=number, content=content
            )
            number += 1
    return row


def find_prepared(device: Device, pk: UUID) -> PreparedImport | None:
    """The device's own upload, while it waits."""
    rows = PreparedImport.objects.filter(device=device, pk=pk)
    return rows.filter(created_at__gt=clock.now() - WAITS_FOR).first()


@transaction.atomic
def confirm_import(device: Device, pk: UUID) -> ImportReport:
    """Import the upload; once. Raises ``ImportGone`` or ``ExportFileError``."""
    row = find_prepared(device, pk)
    if row is None:
        raise ImportGone
    passphrase = ""
    if row.sealed_passphrase:
        passphrase = open_sealed(row.context, row.sealed_passphrase).decode()
    with tempfile.TemporaryFile() as spooled:
        number = 0
        while part := row.parts.filter(number=number).first():
            spooled.write(part.content)
            number += 1
        # A second confirmation waits here for the first one.
        deleted, _ = PreparedImport.objects.filter(pk=pk).delete()
        if not deleted:
            raise ImportGone
        return import_file(
            cast("BinaryIO", spooled),
            Account.objects.of_user(device.user_id),
            passphrase=passphrase,
            device=device,
        )


def discard_import(device: Device, pk: UUID) -> None:
    PreparedImport.objects.filter(device=device, pk=pk).delete()


def prune() -> int:
    """Delete uploads that were not confirmed in time."""
    old = PreparedImport.objects.filter(created_at__lte=clock.now() - WAITS_FOR)
    count = old.count()
    old.delete()
    return count
