"""``/ops``: what runs, what waits and what failed, for the staff of an installation."""
