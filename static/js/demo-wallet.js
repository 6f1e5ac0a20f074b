// The demo wallet: a key generated in this browser and stored in IndexedDB. It signs like any
// wallet (EIP-191, deterministic). Loaded in demo mode only; otherwise the server rejects it.
import { keccak_256, secp256k1 } from "../vendor/noble.min.js";

const DATABASE = "notifyweb-demo";
const STORE = "wallets";

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

export function addressOf(secret) {
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

function openDatabase() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(DATABASE, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "address" });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

async function inStore(mode, act) {
  const database = await openDatabase();
  try {
    return await new Promise((resolve, reject) => {
      const transaction = database.transaction(STORE, mode);
      const request = act(transaction.objectStore(STORE));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onerror = () => reject(transaction.error);
    });
  } finally {
    database.close();
  }
}

/** The demo wallets of this browser, oldest first. */
export async function wallets() {
  const all = await inStore("readonly", (store) => store.getAll());
  return all.sort((one, other) => one.madeAt - other.madeAt);
}

export async function walletOf(address) {
  const all = await wallets();
  return all.find((wallet) => wallet.address.toLowerCase() === address.toLowerCase());
}

export async function adopt(secret) {
  if (!/^[0-9a-f]{64}$/.test(secret)) throw new Error("not a demo key");
  const wallet = { address: addressOf(secret), secret, madeAt: Date.now() };
  await inStore("readwrite", (store) => store.put(wallet));
  return wallet;
}

export function create() {
  return adopt(toHex(secp256k1.utils.randomSecretKey()));
}
