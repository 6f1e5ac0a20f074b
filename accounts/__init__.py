"""People: users, their wallet accounts (CAIP-10), devices, sign-in, live events."""
