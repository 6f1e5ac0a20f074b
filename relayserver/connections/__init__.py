"""The embedded relay: a process of its own on asyncio and `websockets`.

Spec: servers/relay/relay-server-rpc.md, relay-auth.md; protocol.md, section 8.
``docs/relay.md`` tells how the parts fit together. From the wire inwards:

    listener      WebSocket and HTTP on one port
    connection    one client's socket: reading, the bounded list of what is to be written
    admission     who may connect
    session       one client's requests, answers in order, deliveries, acknowledgements
    requests      the irn_ methods and the session calls
    topics        which session listens to which topic, and how far it has been served
    mailbox       what was kept, delivered after a pause, or fetched
    publishing    the tick: many publications, one commit
    publish_log   every node delivers the log in its order, without gaps
    nodes         other relay nodes, over Redis
    acks          acknowledgements, written in batches
    depth         the limit on unread messages of a topic
    store         PostgreSQL

Nothing between ``session`` and ``store`` knows what carries the frames.
"""
