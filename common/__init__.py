"""Shared by every package: clock, entropy, guarded HTTP, limits, work queues, wake-ups."""
