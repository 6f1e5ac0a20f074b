"""The wallet side: subscriptions, subscribe attempts, received notifications."""
