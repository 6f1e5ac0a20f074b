// The sign-in page: which wallets are here, and handing the chosen address to the form.
import { askAddress, watchWallets, within, wordsFor } from "./wallets.js";

const form = document.getElementById("choose");
const note = document.getElementById("wallet-note");

function choose(address, signer, wallet = "") {
  form.elements.address.value = address;
  form.elements.signer.value = signer;
  form.elements.wallet.value = wallet;
  form.requestSubmit();
}

function button(words, icon = null) {
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
  text.textContent = words;
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
  note.textContent = `Waiting for ${wallet.name}…`;
  try {
    choose(await within(askAddress(wallet)), "wallet", wallet.rdns);
  } catch (error) {
    note.textContent = wordsFor(error).words;
  } finally {
    press.removeAttribute("aria-busy");
  }
}

const demo = document.getElementById("demo-wallets");
if (demo) {
  const { addressOf, create, wallets } = await import("./demo-wallet.js");
  const short = (address) => `${address.slice(0, 4)}…${address.slice(-4)}`;
  const known = await wallets();
  demo.replaceChildren(
    ...known.map((wallet) => {
      const item = document.createElement("li");
      const press = button(`Demo wallet ${short(addressOf(wallet.secret))}`);
      press.addEventListener("click", () => choose(wallet.address, "demo"));
      item.append(press);
      return item;
    }),
  );
  const make = document.getElementById("make-demo-wallet");
  const start = async () => choose((await create()).address, "demo");
  // The page that asks to sign again offers no new wallet: it would not be the person's.
  if (make) {
    make.addEventListener("click", start);
    make.querySelector("span").textContent = known.length ? "Make another demo wallet" : "Use a demo wallet";
  }
  // "Start the demo" on the first page: the wallet of this browser, or a new one.
  if ("start" in demo.dataset) known.length ? choose(known[0].address, "demo") : start();
}
