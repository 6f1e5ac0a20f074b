"""The dapp side: projects, subscribers, notifications, webhooks."""
