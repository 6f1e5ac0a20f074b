"""What other packages use of ``alerts``: preferences, mutes, push, forwards, digests."""
