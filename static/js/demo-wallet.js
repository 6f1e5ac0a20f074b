// The demo wallets of this browser: keys generated here and stored in IndexedDB. Loaded in demo mode
// only; otherwise the server rejects them. What they sign with (demo-keys.js) is loaded when it is needed.
const DATABASE = "notifyweb-demo";
const STORE = "wallets";

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

export const keep = (wallet) => inStore("readwrite", (store) => store.put(wallet));
