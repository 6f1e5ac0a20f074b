"""What every app stands on: clock, entropy, guarded HTTP, limits, wake-ups."""
