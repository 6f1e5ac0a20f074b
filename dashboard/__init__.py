"""Every HTML page, and the WebSocket that keeps open pages up to date."""
