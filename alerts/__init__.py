"""Notification channels besides the live page: Web Push, mail digest, forwarding, and what silences them."""
