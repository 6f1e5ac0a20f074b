// What the demo wallet needs from the noble packages, and nothing more.
export { secp256k1 } from "@noble/curves/secp256k1.js";
export { keccak_256 } from "@noble/hashes/sha3.js";
