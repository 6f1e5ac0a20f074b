"""Connections: the listening socket, the handshake, requests and responses."""
