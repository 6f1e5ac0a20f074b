// The step card: get the signature of the text on the page from the signer that was chosen,
// put it into the form and send it. Without this script the signature is pasted.
import { askSignature, walletNamed, within, wordsFor } from "./wallets.js";

const form = document.querySelector("form[data-signer]");
const text = document.getElementById("text-to-sign").textContent;
const note = document.getElementById("sign-note");
const press = document.getElementById("sign-button");
const { signer, wallet: rdns, address, auto } = form.dataset;

function send(signature) {
  form.elements.signature.value = signature;
  note.textContent = "Signed. Checking…";
  form.requestSubmit();
}

function tell({ tone, words }) {
  note.textContent = words;
  note.className = tone === "danger" ? "error" : "hint";
}

async function signWithDemoWallet() {
  const { signText, walletOf } = await import("./demo-wallet.js");
  const wallet = await walletOf(address);
  if (!wallet) return tell({ tone: "danger", words: "This browser does not hold that demo wallet." });
  send(signText(text, wallet.secret));
}

async function signWithWallet() {
  const wallet = await walletNamed(rdns);
  if (!wallet) return tell({ tone: "danger", words: "The wallet is not in this browser any more." });
  tell({ tone: "plain", words: `Waiting for ${wallet.name}…` });
  try {
    send(await within(askSignature(wallet, text, address)));
  } catch (error) {
    tell(wordsFor(error));
  }
}

const sign = { demo: signWithDemoWallet, wallet: signWithWallet }[signer];
if (sign) {
  press.addEventListener("click", sign);
  if (auto) sign();
}
