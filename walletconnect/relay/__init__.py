"""What is said to a relay, and the JSON-RPC that everything is wrapped in."""
