"""The protocol: WalletConnect Notify and Sync, the relay's calls, identities.

Two rules hold in every module below:

1. Pure. No Django, no sockets, no clock and no entropy: time (`now`, whole seconds
   UTC), keys, nonces and request ids are arguments.
2. Bytes and JSON text in, values or one error out. What a peer sent is either parsed
   into a frozen value at once or refused with `RemoteProtocolError`.

The folders mirror the spec: `crypto`, `identity`, `relay`, `sync`, `notify`.
"""
