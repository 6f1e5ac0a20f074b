"""The relay client: one process, one or more authenticated connections per party.

Plain asyncio, with three loops over the database per connection; Redis only shortens
their waits. Deliveries are stored, committed, then acknowledged. Outbox rows are published,
then marked. Topic rows are subscribed or unsubscribed, then marked.

A session ends at the first error of the socket, the relay or the database, and a new one
starts: unacknowledged messages are delivered again, unmarked rows are sent again, byte for
byte.
"""
