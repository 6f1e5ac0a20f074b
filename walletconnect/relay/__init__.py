"""Relay calls, and the JSON-RPC that they are wrapped in."""
