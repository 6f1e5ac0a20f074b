"""PostgreSQL and Redis from wheels, in the data directory, on Unix sockets.

Used when ``DATABASE_URL`` and ``REDIS_URL`` are empty. ``lease.Lease`` finds or starts them
for a command; the launcher starts and supervises them itself.
"""
