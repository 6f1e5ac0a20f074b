// The keys of demo wallets. They sign like any wallet (EIP-191, deterministic).
import { keccak_256, secp256k1 } from "../vendor/noble.min.js";
import { keep } from "./demo-wallet.js";

const toHex = (bytes) => [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
const fromHex = (text) => Uint8Array.from(text.match(/../g).map((pair) => parseInt(pair, 16)));
const utf8 = (text) => new TextEncoder().encode(text);

function join(...parts) {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

function checksummed(lower) {
  const digest = toHex(keccak_256(utf8(lower)));
  const letters = [...lower].map((sign, place) =>
    parseInt(digest[place], 16) >= 8 ? sign.toUpperCase() : sign,
  );
  return `0x${letters.join("")}`;
}

function addressOf(secret) {
  const point = secp256k1.getPublicKey(fromHex(secret), false);
  return checksummed(toHex(keccak_256(point.slice(1)).slice(-20)));
}

/** The EIP-191 signature of a text: `0x` and 130 lower-case hex digits, v 27 or 28. */
export function signText(text, secret) {
  const message = utf8(text);
  const digest = keccak_256(join(utf8(`\x19Ethereum Signed Message:\n${message.length}`), message));
  const signed = secp256k1.sign(digest, fromHex(secret), { prehash: false, format: "recovered" });
  return `0x${toHex(signed.slice(1))}${(27 + signed[0]).toString(16)}`;
}

export async function adopt(secret) {
  if (!/^[0-9a-f]{64}$/.test(secret)) throw new Error("not a demo key");
  const wallet = { address: addressOf(secret), secret, madeAt: Date.now() };
  await keep(wallet);
  return wallet;
}

export function create() {
  return adopt(toHex(secp256k1.utils.randomSecretKey()));
}
