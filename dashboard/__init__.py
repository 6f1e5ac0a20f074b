"""The only HTML and the only browser WebSocket."""
