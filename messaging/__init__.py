"""Our relay clients: inbox, outbox, dispatch to handlers, and the gateway process.

A message's way in and out is described in ``docs/messages.md``.
"""
