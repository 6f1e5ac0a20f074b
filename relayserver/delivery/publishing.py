"""Ticks: publications of all connections, written by one statement and commit.

While one tick is committed, publications collect for the next one, so that ticks grow with
the load and a lone message does not wait. Publishers are answered and subscribers served
after the commit only, so that acknowledged messages survive a crash.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from common import clock
from common.failpoints import failpoint
from relayserver.connections.responses import RelayError, busy
from relayserver.storage.store import StoreUnavailable
from relayserver.values import Draft, KeptMessage, Tick
from walletconnect.relay.frames import RelayErrorCode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from relayserver.delivery.queue_depth import QueueDepth
    from relayserver.metrics import Counts
    from relayserver.storage.store import Appended, Store

logger = logging.getLogger(__name__)

TICK_MESSAGES = 2_000
TICK_BYTES = 8 * 1024 * 1024
# Queued publications; more are refused at once.
MAX_QUEUE_BYTES = 64 * 1024 * 1024
# Attempts while the database is unavailable. Clients give a publish up after ten seconds.
RETRY_FOR_S = 4.0
RETRY_S = 0.1


class Submission:
    """The publications of one request; all or none are written."""

    __slots__ = ("done", "drafts", "size")

    def __init__(
        self,
        drafts: Sequence[Draft],
        size: int,
        done: Callable[[RelayError | None], None],
    ) -> None:
        self.drafts = drafts
        self.size = size
        self.done = done


class Publishing:
    def __init__(
        self,
        store: Store,
        depth: QueueDepth,
        *,
        counts: Counts,
        committed: Callable[[Tick], None],
    ) -> None:
        self._store = store
        self._depth = depth
        self._counts = counts
        self._committed = committed
        self._waiting: list[Submission] = []
        self._waiting_bytes = 0
        self._something = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def submit(self, submission: Submission) -> None:
        if self._waiting_bytes + submission.size > MAX_QUEUE_BYTES:
            submission.done(busy())
            return
        self._waiting.append(submission)
        self._waiting_bytes += submission.size
        self._something.set()
        self._idle.clear()

    async def flushed(self) -> None:
        """Wait until everything submitted was answered."""
        await self._idle.wait()

    async def run(self) -> None:
        while True:
            await self._something.wait()
            batch = self._take()
            try:
                await self._tick(batch)
            except StoreUnavailable as error:
                # What queued meanwhile has waited for as long.
                queued, self._waiting, self._waiting_bytes = self._waiting, [], 0
                self._refuse([*batch, *queued])
                logger.warning("publications refused", extra={"reason": str(error)})
            except Exception:
                # One failed tick must not end publishing.
                self._refuse(batch)
                logger.exception("a tick failed")
            if not self._waiting:
                self._something.clear()
                self._idle.set()

    def _take(self) -> list[Submission]:
        """The submissions of the next tick: as many as fit, but at least one."""
        taken = messages = size = 0
        for submission in self._waiting:
            messages += len(submission.drafts)
            size += submission.size
            if taken and (messages > TICK_MESSAGES or size > TICK_BYTES):
                size -= submission.size
                break
            taken += 1
        self._waiting_bytes -= size
        batch = self._waiting[:taken]
        del self._waiting[:taken]
        return batch

    async def _tick(self, batch: list[Submission]) -> None:
        accepted = await self._admit(batch)
        drafts = _without_repeats(accepted)
        if drafts:
            self._hand_on(accepted, drafts, await self._append(drafts))
        else:
            _done(accepted)

    async def _admit(self, batch: list[Submission]) -> list[Submission]:
        """Answers and removes submissions to topics with too many unread messages."""
        full = await self._depth.full_topics(
            {draft.topic for submission in batch for draft in submission.drafts}
        )
        if not full:
            return batch
        accepted = []
        for submission in batch:
            if any(draft.topic in full for draft in submission.drafts):
                submission.done(mailbox_full())
            else:
                accepted.append(submission)
        return accepted

    async def _append(self, drafts: list[Draft]) -> Appended:
        """Repeating is safe: what an earlier attempt wrote counts as a repeated message."""
        give_up_at = clock.monotonic() + RETRY_FOR_S
        while True:
            failpoint("relay.tick.before_commit", (draft.tag for draft in drafts))
            try:
                return await self._store.append(drafts)
            except StoreUnavailable:
                if clock.monotonic() + RETRY_S >= give_up_at:
                    raise
            await asyncio.sleep(RETRY_S)

    def _hand_on(
        self, accepted: list[Submission], drafts: list[Draft], appended: Appended
    ) -> None:
        failpoint("relay.tick.after_commit", (draft.tag for draft in drafts))
        _done(accepted)
        first = appended.base + 1
        messages = [
            KeptMessage(id_, draft.topic, draft.publisher, draft)
            for id_, draft in enumerate(drafts, first)
            if appended.new is None or id_ in appended.new
        ]
        self._counts.kept += len(messages)
        self._counts.repeated += len(drafts) - len(messages)
        self._counts.ticks += 1
        self._depth.grew(drafts)
        self._committed(Tick(first, appended.base + len(drafts), messages))

    def _refuse(self, batch: list[Submission]) -> None:
        self._counts.refused_ticks += 1
        for submission in batch:
            submission.done(busy())


def _done(batch: list[Submission]) -> None:
    for submission in batch:
        submission.done(None)


def mailbox_full() -> RelayError:
    return RelayError(
        RelayErrorCode.HANDLER, "Mailbox limit exceeded", "MailboxLimitExceeded"
    )


def _without_repeats(batch: list[Submission]) -> list[Draft]:
    """The first of each message per topic: one statement cannot insert a row twice."""
    drafts: dict[tuple[str, str], Draft] = {}
    for submission in batch:
        for draft in submission.drafts:
            drafts.setdefault((draft.topic, draft.message_id), draft)
    return list(drafts.values())
