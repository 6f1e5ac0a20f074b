"""Separation of tenants: every route, REST call and socket frame, as three identities."""
