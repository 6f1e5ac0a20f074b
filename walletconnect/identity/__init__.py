"""DIDs, did-jwts, and the CACAO that ties a key to an account."""
