"""Keys and ciphers. Only this folder and the keychain import cryptographic libraries."""
