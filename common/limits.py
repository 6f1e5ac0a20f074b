"""Every limit of the system, and the token buckets that hold the rates.

One table (``Limits``), changed by ``NOTIFYWEB_LIMITS``. A rate is a bucket in Redis that
one script fills and empties, so that all processes share it and only Redis' clock
matters. Without Redis every call passes: refusing all calls would cost more than the
minutes without rates.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import math
import re
from dataclasses import dataclass
from typing import Any

import redis
from django.conf import settings

from common.connections import shared_redis

logger = logging.getLogger(__name__)

KIB = 1024
MIB = 1024 * KIB
HOUR = 3600
DAY = 24 * HOUR
UNITS = {"s": 1, "min": 60, "h": HOUR, "d": DAY}
BUCKET_TEXT = re.compile(r"(\d+)\+(\d+)/(s|min|h|d)")


@dataclass(frozen=True, slots=True)
class Bucket:
    """``burst`` at once, then ``per_second``."""

    burst: int
    per_second: float

    @classmethod
    def parse(cls, text: str) -> Bucket:
        """``50+2/h``: fifty at once, then two an hour."""
        match = BUCKET_TEXT.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is not a rate such as 50+2/h")
        burst, refill, unit = match.groups()
        if int(burst) == 0 or int(refill) == 0:
            raise ValueError(f"{text!r} allows nothing")
        return cls(int(burst), int(refill) / UNITS[unit])


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits table. A number is a bound, a ``Bucket`` is a rate."""

    relay_frame_bytes: int = MIB
    relay_message_bytes: int = 512 * KIB
    relay_connections: int = 10_000
    relay_connections_per_address: int = 1_000
    relay_connections_per_client: int = 20
    relay_handshakes: int = 500
    relay_handshakes_per_address: int = 50
    # At about 0.3 KB each, the topics of all connections take 160 MB.
    relay_topics: int = 500_000
    relay_topics_per_address: int = 50_000
    relay_topics_per_client: int = 5_000
    relay_queue_messages: int = 1_000
    relay_queue_bytes: int = 16 * MIB
    relay_frames: Bucket = Bucket(500, 100)
    # About 12 KB each.
    web_waiting: int = 2_000
    web_waiting_per_address: int = 200
    web_head_s: int = 20
    web_unread_s: int = 120
    web_uploads: int = 8
    web_uploads_per_address: int = 2
    live_sockets: int = 5_000
    live_sockets_per_address: int = 500
    live_sockets_per_user: int = 50
    ttl_min_s: int = 1
    ttl_max_s: int = 30 * DAY
    notify_project: Bucket = Bucket(20, 2)
    notify_accounts: int = 500
    notify_subscriber: Bucket = Bucket(50, 2 / HOUR)
    subscribe_client: Bucket = Bucket(500, 500 / DAY)
    subscribe_project: Bucket = Bucket(50_000, 1)
    notify_delete: Bucket = Bucket(10, 1 / HOUR)
    notify_update: Bucket = Bucket(100, 1)
    notify_list: Bucket = Bucket(100, 2)
    cast_call: Bucket = Bucket(200, 20)
    cast_request: Bucket = Bucket(2_000, 200)
    document_read: Bucket = Bucket(300, 30)
    description_read: Bucket = Bucket(60, 1)
    page_read: Bucket = Bucket(600, 20)
    page_write: Bucket = Bucket(300, 5)
    outbound_request: Bucket = Bucket(30, 1 / 5)
    project_create: Bucket = Bucket(20, 10 / HOUR)
    project_invite: Bucket = Bucket(20, 10 / HOUR)
    export_read: Bucket = Bucket(10, 1 / 10)
    import_write: Bucket = Bucket(20, 1 / 30)
    digest_confirmation_user: Bucket = Bucket(5, 2 / HOUR)
    digest_confirmation_client: Bucket = Bucket(20, 10 / HOUR)
    digest_confirmation_mailbox: Bucket = Bucket(3, 2 / DAY)
    sync_topic: Bucket = Bucket(500, 20)
    device_link_begin: Bucket = Bucket(10, 1 / 60)
    device_link_try: Bucket = Bucket(10, 1 / 60)
    title_chars: int = 64
    body_chars: int = 255
    icon_chars: int = 255
    url_chars: int = 255
    scopes_per_subscription: int = 15
    subscriptions_per_account: int = 500
    watchers_per_account: int = 25
    webhooks_per_project: int = 64
    templates_per_project: int = 50
    scheduled_per_project: int = 100
    schedule_ahead_days: int = 366
    # A million accounts take 250 MB of the database.
    recipient_lists_per_project: int = 20
    recipients_per_list: int = 1_000_000
    recipients_per_owner: int = 10_000_000
    recipient_file_bytes: int = 128 * MIB
    recipient_upload: Bucket = Bucket(10, 10 / HOUR)
    dry_run_accounts: int = 50_000
    document_bytes: int = 64 * KIB
    document_deadline_s: int = 5
    document_good_min_s: int = HOUR
    document_good_max_s: int = DAY
    document_bad_s: int = 120
    document_unreached_s: int = 5
    webhook_deadline_s: int = 15
    webhook_read_bytes: int = 64 * KIB
    webhook_replays: int = 1_000
    json_body_bytes: int = 256 * KIB
    keys_body_bytes: int = 128 * KIB
    history_body_bytes: int = 16 * KIB
    json_depth: int = 32
    failed_sign_in: Bucket = Bucket(30, 1 / 60)
    domain_check: Bucket = Bucket(20, 1 / 6)
    domain_checks_per_user: int = 3
    domain_checks_in_all: int = 60
    domain_check_wait_ms: int = 2_500
    sign_in_begin: Bucket = Bucket(60, 1 / 5)
    signature_check: Bucket = Bucket(60, 1 / 5)
    admin_sign_in: Bucket = Bucket(10, 1 / 60)
    identity_register: Bucket = Bucket(60, 1)
    identity_read: Bucket = Bucket(1_000, 100)
    contract_check_deadline_s: int = 8
    contract_check_bytes: int = 64 * KIB
    contract_checks_waiting: int = 8
    history_read: Bucket = Bucket(200, 20)
    sign_in_nonce_s: int = 600
    history_page: int = 200
    history_tags: int = 64
    secrets_per_project: int = 10
    # Clients may keep did.json for long, and messages wait in mailboxes for 30 days.
    rotated_keys_days: int = 90
    projects_per_owner: int = 100
    members_per_project: int = 50
    invitations_per_project: int = 20
    invitation_days: int = 30
    topics_per_subscriber: int = 20
    archived_messages: int = 50_000
    # How much runs at once, over all workers.
    webhook_deliveries: int = 32
    webhook_deliveries_per_project: int = 4
    webhook_deliveries_per_owner: int = 8
    webhook_deliveries_per_host: int = 12
    subscribes: int = 32
    subscribes_per_user: int = 4
    subscribes_per_dapp: int = 8
    enrichments: int = 200
    enrichments_per_user: int = 50
    identity_lookups_per_server: int = 8
    identity_registrations_per_account: int = 2
    contract_checks_per_chain: int = 8
    cold_starts: int = 4
    history_replays: int = 4
    history_replay_messages: int = 2_000
    pushes: int = 32
    pushes_per_user: int = 4
    pushes_per_host: int = 24
    forward_deliveries: int = 16
    forward_deliveries_per_user: int = 2
    forward_deliveries_per_host: int = 8
    digests: int = 4
    icon_bytes: int = 256 * KIB
    icon_deadline_s: int = 10
    icon_fetches: int = 8
    icon_fetches_per_account: int = 2
    icon_fetches_per_host: int = 2
    icons_per_dapp: int = 20
    icons_per_account: int = 500
    icons_in_all: int = 50_000
    # What one person may store.
    forwards_per_user: int = 5
    mutes_per_account: int = 2_000
    preferences_per_account: int = 2_000
    saved_filters_per_user: int = 30
    # About 40,000 notifications.
    import_bytes: int = 64 * MIB
    # How long rows are kept (``common.retention``), in days unless it is hours; 0: for good.
    keep_sent_messages_h: int = 1
    keep_handled_messages_days: int = 31
    keep_answers_days: int = 31
    keep_account_events_days: int = 30
    keep_audit_days: int = 0
    keep_protocol_runs_days: int = 90
    keep_archived_notifications_days: int = 365
    keep_archived_sync_days: int = 0
    keep_archive_clients_days: int = 365
    keep_sync_updates_days: int = 90
    keep_notifications_days: int = 0
    keep_ended_subscriptions_days: int = 365
    keep_subscribe_attempts_days: int = 90
    keep_unused_documents_days: int = 365
    keep_sent_notifications_days: int = 180
    keep_ended_subscribers_days: int = 365
    keep_webhook_log_days: int = 30
    keep_pushes_days: int = 7


def parse_changes(text: str) -> dict[str, int | Bucket]:
    """``history_page=100,notify_subscriber=1+1/h`` as fields of ``Limits``."""
    known = {field.name: field.default for field in dataclasses.fields(Limits)}
    changes: dict[str, int | Bucket] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = part.partition("=")
        if name not in known:
            raise ValueError(f"unknown limit {name!r}")
        if isinstance(known[name], Bucket):
            changes[name] = Bucket.parse(value)
        elif value.isdecimal():
            changes[name] = int(value)
        else:
            raise ValueError(f"{name} is {value!r}, not a whole number")
    return changes


def configured_limits(text: str, *, demo: bool, strict_spam_rule: bool) -> Limits:
    """The table with what the mode and ``NOTIFYWEB_LIMITS`` change, in this order."""
    changes: dict[str, int | Bucket] = {}
    if demo:
        changes["notify_subscriber"] = Bucket(1_000, 10)
    if strict_spam_rule:
        # Spec: one message an hour from one dapp to one subscriber.
        changes["notify_subscriber"] = Bucket(1, 1 / HOUR)
    changes |= parse_changes(text)
    limits = dataclasses.replace(Limits(), **changes)  # type: ignore[arg-type]
    check_retention(limits)
    return limits


# A message lives 30 days on a relay at most and may arrive again until then. Its mark, the
# answer to it and its notification must still be there, or it would count twice.
MIN_KEEP_DAYS = {
    "keep_handled_messages_days": 31,
    "keep_answers_days": 31,
    "keep_notifications_days": 31,
    "keep_ended_subscriptions_days": 31,
    "keep_sent_notifications_days": 31,
    "keep_ended_subscribers_days": 31,
    "keep_audit_days": 31,
}


def check_retention(limits: Limits) -> None:
    """Raise ``ValueError`` for times after which a message would count as new."""
    for name, least in MIN_KEEP_DAYS.items():
        if 0 < getattr(limits, name) < least:
            raise ValueError(f"{name} must be 0 (for good) or at least {least}")
    kept, archived = (
        getattr(limits, f"keep_{what}_days") or math.inf
        for what in ("notifications", "archived_notifications")
    )
    if kept < archived:
        raise ValueError(
            "keep_notifications_days must not be less than "
            "keep_archived_notifications_days: a replay of the archive would return"
            " the deleted notifications"
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a request may pass, and the headers of its answer."""

    allowed: bool
    limit: int
    remaining: int
    retry_after: int
    # Seconds until the bucket is full again.
    reset: int = 0

    def standard_headers(self) -> dict[str, str]:
        """The fields of the IETF's draft "RateLimit header fields for HTTP"."""
        return {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(self.reset),
        }

    def headers(self) -> dict[str, str]:
        found = {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.remaining),
        }
        if not self.allowed:
            found["Retry-After"] = str(self.retry_after)
        return found


# KEYS: one bucket each. ARGV: burst, tokens per second, cost. Redis' own clock
# decides. Answers, per bucket: taken (0 or 1), tokens left, seconds until it fits; or
# with a fourth argument only the positions of the buckets that had too few.
CONSUME_SCRIPT = """
local burst, rate, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local answers, refused = {}, {}
for position, key in ipairs(KEYS) do
  local kept = redis.call('HMGET', key, 'tokens', 'at')
  local tokens = tonumber(kept[1]) or burst
  local at = tonumber(kept[2]) or now
  tokens = math.min(burst, tokens + math.max(0, now - at) * rate)
  local taken, wait = 0, 0
  if tokens >= cost then
    taken, tokens = 1, tokens - cost
  else
    wait = (cost - tokens) / rate
    refused[#refused + 1] = position
  end
  redis.call('HSET', key, 'tokens', tostring(tokens), 'at', tostring(now))
  redis.call('EXPIRE', key, math.ceil((burst - tokens) / rate) + 1)
  if not ARGV[4] then
    answers[position] = {taken, tostring(tokens), tostring(wait)}
  end
end
return ARGV[4] and refused or answers
"""


def bucket_of(name: str) -> Bucket:
    found = getattr(settings.LIMITS, name)
    if not isinstance(found, Bucket):
        raise TypeError(f"limit {name} is a bound, not a rate")
    return found


def consume(name: str, key: str, cost: int = 1) -> Verdict:
    """Take ``cost`` tokens from the bucket of ``key`` under the limit ``name``."""
    return consume_all(name, [key], cost=cost)[0]


def consume_all(name: str, keys: list[str], *, cost: int = 1) -> list[Verdict]:
    """One verdict per key, in one round trip."""
    bucket = bucket_of(name)
    full = bucket.burst
    answers = _consume(name, keys, cost)
    if answers is None:
        return [Verdict(allowed=True, limit=full, remaining=full, retry_after=0)] * len(
            keys
        )
    return [
        Verdict(
            allowed=bool(taken),
            limit=full,
            remaining=int(float(tokens)),
            retry_after=math.ceil(float(wait)),
            reset=math.ceil((bucket.burst - float(tokens)) / bucket.per_second),
        )
        for taken, tokens, wait in answers
    ]


def refused(name: str, keys: list[str]) -> list[str]:
    """Take a token from each bucket; the keys of those that have none.

    For ten thousand keys at once, of which it does not matter how much is left.
    """
    positions = _consume(name, keys, 1, "refused only")
    return [keys[position - 1] for position in positions or ()]


def _consume(name: str, keys: list[str], *arguments: int | str) -> list[Any] | None:
    """The answers of the script; None if Redis is unavailable, which allows all."""
    if not keys:
        return []
    bucket = bucket_of(name)
    full_keys = [f"limit:{name}:{key}" for key in keys]
    try:
        found: list[Any] = _script()(
            keys=full_keys, args=[bucket.burst, bucket.per_second, *arguments]
        )
    except redis.RedisError as error:
        logger.warning("limit not checked", extra={"limit": name, "error": error})
        return None
    return found


@functools.cache
def _script() -> redis.commands.core.Script:
    return shared_redis().register_script(CONSUME_SCRIPT)
