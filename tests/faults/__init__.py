"""What the running system survives."""
