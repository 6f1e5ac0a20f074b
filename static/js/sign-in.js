// The sign-in page: lists the wallets of this browser and submits the chosen address.
import { askAddress, watchWallets, within, describeError } from "./wallets.js";

const form = document.getElementById("choose");
const note = document.getElementById("wallet-note");

function choose(address, signer, wallet = "") {
  form.elements.address.value = address;
  form.elements.signer.value = signer;
  form.elements.wallet.value = wallet;
  form.requestSubmit();
}

function button(label, icon = null) {
  const item = document.createElement("button");
  item.type = "button";
  item.className = "choice";
  if (icon) {
    const picture = document.createElement("img");
    picture.src = icon;
    picture.alt = "";
    picture.width = picture.height = 28;
    item.append(picture);
  }
  const text = document.createElement("span");
  text.textContent = label;
  item.append(text);
  return item;
}

watchWallets((wallets) => {
  const list = document.getElementById("wallets");
  document.getElementById("no-wallets").hidden = wallets.length > 0;
  list.replaceChildren(
    ...wallets.map((wallet) => {
      const item = document.createElement("li");
      const press = button(wallet.name, wallet.icon);
      press.addEventListener("click", () => connect(wallet, press));
      item.append(press);
      return item;
    }),
  );
});

async function connect(wallet, press) {
  press.setAttribute("aria-busy", "true");
  note.textContent = interpolate(gettext("Waiting for %s…"), [wallet.name]);
  try {
    choose(await within(askAddress(wallet)), "wallet", wallet.rdns);
  } catch (error) {
    note.textContent = describeError(error).text;
  } finally {
    press.removeAttribute("aria-busy");
  }
}

const demo = document.getElementById("demo-wallets");
if (demo) {
  const { wallets } = await import("./demo-wallet.js");
  const short = (address) => `${address.slice(0, 4)}…${address.slice(-4)}`;
  const known = await wallets();
  demo.replaceChildren(
    ...known.map((wallet) => {
      const item = document.createElement("li");
      const press = button(interpolate(gettext("Demo wallet %s"), [short(wallet.address)]));
      press.addEventListener("click", () => choose(wallet.address, "demo"));
      item.append(press);
      return item;
    }),
  );
  const make = document.getElementById("make-demo-wallet");
  const start = async () => {
    const { create } = await import("./demo-keys.js");
    choose((await create()).address, "demo");
  };
  // "Sign again" offers no new wallet: it would not belong to the account.
  if (make) {
    make.addEventListener("click", start);
    make.querySelector("span").textContent = known.length ? gettext("Make another demo wallet") : gettext("Use a demo wallet");
  }
  // "Start the demo" on the landing page: use the wallet of this browser, or create one.
  if ("start" in demo.dataset) known.length ? choose(known[0].address, "demo") : start();
}
