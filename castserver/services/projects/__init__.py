"""Projects: a dapp's name, domain, keys, types and published documents."""
