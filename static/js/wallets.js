// Wallets of this browser (EIP-6963). No wallet receives a request before the user chooses it.

const ICON_LIMIT = 64 * 1024;
const OTHER = "other";

const found = new Map();

function remember(info, provider) {
  const icon = /^data:image\//.test(info.icon ?? "") && info.icon.length <= ICON_LIMIT ? info.icon : "";
  found.set(info.uuid, { uuid: info.uuid, rdns: info.rdns, name: info.name, icon, provider });
}

/** Call `changed(list)` now and whenever another wallet is announced. */
export function watchWallets(changed) {
  const list = () =>
    [...found.values()].sort((one, other) => one.name.localeCompare(other.name));
  addEventListener("eip6963:announceProvider", (event) => {
    const { info, provider } = event.detail ?? {};
    if (!info?.uuid || !provider) return;
    remember(info, provider);
    changed(list());
  });
  dispatchEvent(new Event("eip6963:requestProvider"));
  setTimeout(() => {
    if (found.size === 0 && window.ethereum)
      remember({ uuid: OTHER, rdns: OTHER, name: gettext("Other browser wallet") }, window.ethereum);
    changed(list());
  }, 300);
}

export function walletNamed(rdns) {
  return new Promise((resolve) => {
    const look = (list) => {
      const wallet = list.find((one) => one.rdns === rdns);
      if (wallet) resolve(wallet);
    };
    watchWallets(look);
    setTimeout(() => resolve(null), 1_000);
  });
}

export const hexOf = (text) =>
  `0x${[...new TextEncoder().encode(text)].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;

export async function askAddress(wallet) {
  const addresses = await wallet.provider.request({ method: "eth_requestAccounts" });
  return addresses[0];
}

export const short = (text) => `${text.slice(0, 6)}…${text.slice(-4)}`;

const REMEMBERED = "notifyweb-wallet";

/** The browser wallet that signed in here last, by its reverse domain name. */
export const rememberedWallet = () => localStorage.getItem(REMEMBERED);
export const rememberWallet = (rdns) => localStorage.setItem(REMEMBERED, rdns);

const watched = new WeakSet();

/** Call `changed(address)` whenever the wallet switches to another account (EIP-1193). */
export function watchAccount({ provider }, changed) {
  if (typeof provider.on !== "function" || watched.has(provider)) return;
  watched.add(provider);
  provider.on("accountsChanged", (accounts) => accounts?.[0] && changed(String(accounts[0])));
}

export function askSignature(wallet, text, address) {
  return wallet.provider.request({ method: "personal_sign", params: [hexOf(text), address] });
}

/** A message for the error of a wallet (EIP-1193 codes). */
export function describeError(error) {
  if (error?.code === 4001) return { tone: "plain", text: gettext("You declined in the wallet. Nothing was signed.") };
  if (error?.code === -32002)
    return { tone: "plain", text: gettext("Your wallet already shows a request. Open it to go on.") };
  if (error?.message === "timeout")
    return { tone: "plain", text: gettext("Your wallet has not responded. Open it; nothing was lost.") };
  const message = String(error?.message ?? error).slice(0, 200);
  return { tone: "danger", text: interpolate(gettext("Error from the wallet: %s"), [message]) };
}

const ANSWER_MS = 60_000;

export function within(promise, limit = ANSWER_MS) {
  return Promise.race([
    promise,
    new Promise((_, reject) => setTimeout(() => reject(new Error("timeout")), limit)),
  ]);
}
