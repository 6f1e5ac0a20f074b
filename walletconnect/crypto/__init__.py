"""Keys and what is done with them. Only this folder (and the keychain) sees libraries."""
