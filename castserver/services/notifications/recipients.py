"""Lists of accounts: uploaded CSV files, and those of scheduled notifications.

A file is read line by line and copied into a temporary table, so memory stays flat for a
million lines. It is stored as a whole or not at all: a line without an account refuses the
file, unless its owner asks to leave such lines out.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q, Sum

from accounts.services import audit
from castserver.models import Project, Recipient, RecipientList
from castserver.models.subscribers import ACCOUNT_LENGTH
from castserver.services.errors import Invalid, TooMany
from castserver.services.notifications.notify import (
    BAD_ADDRESS,
    MALFORMED,
    address_fault,
)
from castserver.services.projects.members import lock_project
from common import clock
from common.pasting import bare_text
from walletconnect.errors import RemoteProtocolError
from walletconnect.identity.did import AccountId, with_chain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import BinaryIO
    from uuid import UUID

MAX_LINE_BYTES: Final = 16 * 1024
# Bad lines that an error names; all are counted.
MAX_LINES_NAMED: Final = 50
MAX_SHOWN: Final = 60
NO_ACCOUNT: Final = "no account in the column of accounts"
LONG_LINE: Final = f"more than {MAX_LINE_BYTES:,} bytes in one line"
KEEP_LISTS: Final = timedelta(days=30)
# Lists of scheduled notifications have no name, and go soon after they were used.
KEEP_UNNAMED: Final = timedelta(days=1)
HEADINGS: Final = frozenset(
    {"account", "accounts", "address", "addresses", "wallet", "caip10", "caip-10"}
)
SEPARATORS: Final = ",;\t"
# Most files have only these: a regular expression is ten times as fast as the parser.
_USUAL: Final = re.compile(r"(?:eip155:[0-9]{1,32}:)?0x[0-9a-fA-F]{40}")
_CREATE: Final = "CREATE TEMPORARY TABLE uploaded (line int, account text, key text)"
_COPY: Final = "COPY uploaded (line, account, key) FROM STDIN"
_KEEP: Final = """
INSERT INTO castserver_recipient (recipients_id, account, account_key)
SELECT DISTINCT ON (key) %s, account, key FROM uploaded ORDER BY key, line
"""
_DROP: Final = "DROP TABLE uploaded"


@dataclass(frozen=True, slots=True)
class BadLine:
    number: int
    text: str
    reason: str


class BadLines(Invalid):
    """Lines of a file without an account. The first ones are named, all are counted."""

    def __init__(self, lines: list[BadLine], count: int) -> None:
        super().__init__(
            "nothing was stored: one line has no account"
            if count == 1
            else f"nothing was stored: {count:,} lines have no account",
            field="file",
        )
        self.lines = lines
        self.count = count


@dataclass(slots=True)
class _Reader:
    """The accounts of a CSV file; remembers the lines that have none."""

    file: BinaryIO
    separator: str = ","
    column: int = 0
    bad: list[BadLine] = field(default_factory=list)
    bad_count: int = 0

    def accounts(self) -> Iterator[tuple[int, str, str]]:
        """Line number, account as written, and account key."""
        is_first = True
        for number, line in self._lines():
            if number > settings.LIMITS.recipients_per_list + 1:
                raise Invalid(
                    f"line {number:,}: a list has at most "
                    f"{settings.LIMITS.recipients_per_list:,} lines",
                    field="file",
                )
            if line is None:
                self._refuse(number, "", LONG_LINE)
                continue
            if not line.strip():
                continue
            if is_first:
                is_first = False
                if self._is_heading(line):
                    continue
            cells = self._cells(line)
            cell = cells[self.column].strip() if len(cells) > self.column else ""
            if _USUAL.fullmatch(cell):
                yield number, with_chain(cell), f"eip155:{cell[-42:].lower()}"
                continue
            parsed = self._parse(number, cell)
            if parsed is not None:
                yield number, str(parsed), parsed.key

    def _lines(self) -> Iterator[tuple[int, str | None]]:
        """Numbered lines; None for one that is too long to be kept in memory."""
        number = 0
        while line := self.file.readline(MAX_LINE_BYTES):
            number += 1
            if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
                while rest := self.file.readline(MAX_LINE_BYTES):
                    if rest.endswith(b"\n"):
                        break
                yield number, None
                continue
            yield number, line.decode("utf-8", errors="replace").lstrip("\ufeff")

    def _is_heading(self, line: str) -> bool:
        """Finds separator and column from the first line; whether it only names columns."""
        self.separator = max(SEPARATORS, key=line.count)
        cells = [bare_text(cell) for cell in self._cells(line)]
        for place, cell in enumerate(cells):
            if _account_of(cell) is not None:
                self.column = place
                return False
        for place, cell in enumerate(cells):
            if cell.lower() in HEADINGS:
                self.column = place
                return True
        return False

    def _cells(self, line: str) -> list[str]:
        # Line by line: a stray quotation mark must not swallow the lines after it.
        if '"' in line:
            try:
                return next(csv.reader([line], delimiter=self.separator), [])
            except csv.Error:
                return []
        return line.split(self.separator)

    def _parse(self, number: int, cell: str) -> AccountId | None:
        text = bare_text(cell)
        if not text:
            self._refuse(number, "", NO_ACCOUNT)
            return None
        account = _account_of(text)
        if account is None:
            self._refuse(number, text, MALFORMED)
            return None
        if address_fault(account) == BAD_ADDRESS:
            self._refuse(number, text, BAD_ADDRESS)
            return None
        return account

    def _refuse(self, number: int, text: str, reason: str) -> None:
        self.bad_count += 1
        if len(self.bad) < MAX_LINES_NAMED:
            self.bad.append(BadLine(number, text[:MAX_SHOWN], reason))


def _account_of(text: str) -> AccountId | None:
    if len(text) > ACCOUNT_LENGTH:
        return None
    try:
        return AccountId.parse(with_chain(text))
    except RemoteProtocolError:
        return None


def upload_list(
    project: Project, name: str, file: BinaryIO, *, leave_out: bool = False
) -> RecipientList:
    """Store the accounts of a CSV file, each once.

    Lines without an account raise ``BadLines`` and nothing is stored; with ``leave_out``
    they are left out and counted.
    """
    name = bare_name(name)
    reader = _Reader(file)
    with transaction.atomic():
        # Locked, so that two uploads cannot both take the last place.
        lock_project(project)
        most = settings.LIMITS.recipient_lists_per_project
        if project.recipient_lists.exclude(name="").count() >= most:
            raise TooMany(
                f"a project has at most {most} lists; delete one first", field="file"
            )
        found = _store(project, name, reader.accounts())
        if reader.bad_count and not leave_out:
            raise BadLines(reader.bad, reader.bad_count)
        if not found.size:
            raise Invalid("the file names no account", field="file")
        _limit_owner(project)
        found.left_out = reader.bad_count
        found.save(update_fields=["left_out"])
        audit(
            "project.list-uploaded",
            subject=project.pk,
            detail=str(found.size),
            by_caller=True,
        )
    return found


def _limit_owner(project: Project) -> None:
    """Lists take more space than anything else that a person can store here."""
    most = settings.LIMITS.recipients_per_owner
    lists = RecipientList.objects.filter(project__owner=project.owner).exclude(name="")
    total = lists.aggregate(total=Sum("size"))["total"] or 0
    if project.owner is not None and total > most:
        raise TooMany(
            f"the lists of all your projects may have at most {most} accounts together; "
            "delete one first",
            field="file",
        )


def keep_accounts(project: Project, accounts: Iterable[str]) -> RecipientList:
    """The accounts of one scheduled notification, in the caller's transaction."""
    parsed = [(text, _account_of(text)) for text in accounts]
    for text, account in parsed:
        if account is None or address_fault(account) == BAD_ADDRESS:
            raise Invalid(f"{text[:MAX_SHOWN]} is {MALFORMED}", field="accounts")
    rows = (
        (number, text, account.key)
        for number, (text, account) in enumerate(parsed)
        if account is not None
    )
    return _store(project, "", rows)


def _store(
    project: Project, name: str, rows: Iterable[tuple[int, str, str]]
) -> RecipientList:
    found = RecipientList.objects.create(
        project=project, name=name, created_at=clock.now()
    )
    with connection.cursor() as cursor:
        cursor.execute(_CREATE)
        with cursor.copy(_COPY) as copy:
            for row in rows:
                copy.write_row(row)
        cursor.execute(_KEEP, [found.pk])
        found.size = cursor.rowcount
        cursor.execute(_DROP)
    found.save(update_fields=["size"])
    return found


def bare_name(name: str) -> str:
    """The file's name without path and control characters."""
    last = re.split(r"[\\/]", name)[-1]
    return "".join(mark for mark in last if mark.isprintable()).strip()[:64] or "list"


def list_of(project: Project, pk: UUID | str) -> RecipientList | None:
    return project.recipient_lists.filter(pk=pk).exclude(name="").first()


def delete_list(found: RecipientList) -> None:
    """Delete a list; what was sent to it stays sent."""
    with transaction.atomic():
        locked = RecipientList.objects.select_for_update().filter(pk=found.pk)
        if not locked.exists():
            return
        if found.broadcasts.filter(finished_at=None).exists():
            raise Invalid(
                "a notification is still to be sent to this list; cancel it first"
            )
        _drop(found)


def prune_lists() -> int:
    """Delete lists past their retention to which nothing is still to be sent."""
    now = clock.now()
    old = Q(name="", created_at__lte=now - KEEP_UNNAMED) | Q(
        created_at__lte=now - KEEP_LISTS
    )
    count = 0
    for pk in RecipientList.objects.filter(old).values_list("pk", flat=True):
        with transaction.atomic():
            locked = RecipientList.objects.select_for_update(skip_locked=True)
            row = locked.filter(pk=pk).first()
            if row and not row.broadcasts.filter(finished_at=None).exists():
                _drop(row)
                count += 1
    return count


def _drop(found: RecipientList) -> None:
    found.broadcasts.update(recipients=None)
    # By one statement: Django's collector would read a million rows first.
    accounts = Recipient.objects.filter(recipients=found)
    accounts._raw_delete(accounts.db)
    found.delete()
