// Requests the signature of the text on the page from the chosen signer and submits it. Without
// JavaScript the signature is pasted into the form.
import { askSignature, walletNamed, within, describeError } from "./wallets.js";

const form = document.querySelector("form[data-signer]");
const text = document.getElementById("text-to-sign").textContent;
const note = document.getElementById("sign-note");
const press = document.getElementById("sign-button");
const { signer, wallet: rdns, address, auto } = form.dataset;

function send(signature) {
  form.elements.signature.value = signature;
  note.textContent = gettext("Signed. Checking…");
  form.requestSubmit();
}

function showNote({ tone, text: message }) {
  note.textContent = message;
  note.className = tone === "danger" ? "error" : "hint";
}

async function signWithDemoWallet() {
  const { signText, walletOf } = await import("./demo-wallet.js");
  const wallet = await walletOf(address);
  if (!wallet) return showNote({ tone: "danger", text: gettext("This browser does not have that demo wallet.") });
  send(signText(text, wallet.secret));
}

async function signWithWallet() {
  const wallet = await walletNamed(rdns);
  if (!wallet) return showNote({ tone: "danger", text: gettext("The wallet is no longer in this browser.") });
  showNote({ tone: "plain", text: interpolate(gettext("Waiting for %s…"), [wallet.name]) });
  try {
    send(await within(askSignature(wallet, text, address)));
  } catch (error) {
    showNote(describeError(error));
  }
}

const sign = { demo: signWithDemoWallet, wallet: signWithWallet }[signer];
if (sign) {
  press.addEventListener("click", sign);
  if (auto) sign();
}
