"""Our client of a relay: one process, one authenticated connection per party.

Plain asyncio. In: frames are stored, committed, then acknowledged. Out: rows of the
outbox are published and marked. Topics: rows of wanted topics are made so. Each of the
three is a loop over the database; Redis only shortens its waits.

A session is given up at the first trouble (socket, relay or database) and begun anew:
what was not acknowledged comes again, what was not marked is sent again, byte for byte.
"""
