"""What an account prefers per dapp, shared by its devices through a Sync store."""
