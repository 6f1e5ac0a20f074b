"""The embedded relay: the server of ``irn_*`` over WebSocket, with mailbox and archive."""
