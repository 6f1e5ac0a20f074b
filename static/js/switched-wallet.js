// Pages of a signed-in user: when the browser wallet that signed in here switches to another account, the
// page says so and offers to sign in with it. The wallet is not asked anything.
import { rememberedWallet, short, walletNamed, watchAccount } from "./wallets.js";

const bar = () => document.getElementById("wallet-switched");

function show(rdns, address) {
  const place = bar();
  const known = place.dataset.accounts.toLowerCase().split(" ");
  // An account of this inbox is shown already, among the others.
  place.hidden = known.includes(address.toLowerCase());
  if (place.hidden) return;
  document.getElementById("wallet-switched-text").textContent = interpolate(
    gettext("Your wallet switched to %(other)s. This inbox shows %(account)s."),
    { other: short(address), account: short(place.dataset.shown) },
    true,
  );
  place.querySelector("[name=address]").value = address;
  place.querySelector("[name=wallet]").value = rdns;
}

export async function listenForSwitchedWallet() {
  const rdns = rememberedWallet();
  if (!bar() || !rdns) return;
  const wallet = await walletNamed(rdns);
  if (!wallet) return;
  watchAccount(wallet, (address) => show(rdns, address));
  bar().dataset.watches = wallet.name;
  document.getElementById("wallet-switched-dismiss").addEventListener("click", () => (bar().hidden = true));
}
