"""The embedded relay: the server of ``irn_*`` over WebSocket, with its mailbox and archive."""
