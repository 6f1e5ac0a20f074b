"""Shards: topics are divided by their first digits, so that gateways can share them.

A topic is a hash, so shards get about equally many topics. A relay client of ours serves
a range of shards; a gateway process claims such ranges (``messaging.gateway.membership``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SHARD_DIGITS: Final = 3
SHARDS: Final = 16**SHARD_DIGITS
# Above every hex digit.
_AFTER_LAST: Final = "g"


def shard_of(topic: str) -> int:
    """As the column ``shard`` of the outbox computes it."""
    return int(topic[:SHARD_DIGITS], 16)


@dataclass(frozen=True, slots=True)
class ShardRange:
    """The shards from ``first`` to ``last``, both included."""

    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first + 1

    def __contains__(self, shard: int) -> bool:
        return self.first <= shard <= self.last

    @property
    def first_topic(self) -> str:
        """The topics of the range are the texts from this one to below ``end_topic``."""
        return f"{self.first:0{SHARD_DIGITS}x}"

    @property
    def end_topic(self) -> str:
        end = self.last + 1
        return _AFTER_LAST if end == SHARDS else f"{end:0{SHARD_DIGITS}x}"

    def halves(self) -> tuple[ShardRange, ShardRange]:
        middle = (self.first + self.last) // 2
        return ShardRange(self.first, middle), ShardRange(middle + 1, self.last)


ALL_SHARDS: Final = ShardRange(0, SHARDS - 1)
