"""The Cast Server: watches, subscription lists, read state of other clients."""
