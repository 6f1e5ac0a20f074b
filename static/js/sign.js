// Requests the signature of the text on the page from the chosen signer and submits it. Without
// JavaScript the signature is pasted into the form.
import { askSignature, describeError, hexOf, rememberWallet, short, walletNamed, watchAccount, within } from "./wallets.js";

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
  const { walletOf } = await import("./demo-wallet.js");
  const wallet = await walletOf(address);
  if (!wallet) return showNote({ tone: "danger", text: gettext("This browser does not have that demo wallet.") });
  const { signText } = await import("./demo-keys.js");
  send(signText(text, wallet.secret));
}

async function signWithWallet() {
  const wallet = await walletNamed(rdns);
  if (!wallet) return showNote({ tone: "danger", text: gettext("The wallet is no longer in this browser.") });
  showNote({ tone: "plain", text: interpolate(gettext("Waiting for %s…"), [wallet.name]) });
  watchAccount(wallet, offerSwitch);
  try {
    const signature = await within(askSignature(wallet, text, address));
    rememberWallet(rdns);
    send(signature);
  } catch (error) {
    showNote(describeError(error));
  }
}

/** The wallet uses another account now: offer to go on with that one. */
function offerSwitch(switchedTo) {
  const bar = document.getElementById("sign-switched");
  const isOther = switchedTo.toLowerCase() !== address.toLowerCase();
  bar.hidden = !isOther;
  if (!isOther) return;
  const names = { other: short(switchedTo), account: short(address) };
  document.getElementById("sign-switched-text").textContent = interpolate(
    gettext("Your wallet switched to %(other)s. This page still asks for a signature of %(account)s."), names, true,
  );
  bar.querySelector("[name=address]").value = switchedTo;
}

let phone;

async function signWithPhone() {
  const { relay } = form.dataset;
  const again = document.getElementById("sign-pair");
  const wallet = await import("./phone-wallet.js");
  showNote({ tone: "plain", text: gettext("Connecting to the relay…") });
  press.disabled = true;
  let late;
  try {
    if (!phone) {
      phone = await wallet.openClient(form.dataset);
      wallet.watchAccounts(phone, offerSwitch);
    }
    const session = wallet.sessionWith(phone, address);
    if (!session) {
      again.hidden = false;
      const others = wallet.sessionsOf(phone).length > 0;
      const text = others
        ? gettext("The connected wallet does not share this account. Connect it again and choose the account, or use another way to sign.")
        : gettext("This tab is not connected with a phone wallet. Connect it again.");
      return showNote({ tone: "danger", text });
    }
    const name = session.peer.metadata.name.slice(0, 60) || gettext("the wallet");
    const open = document.getElementById("sign-open");
    const link = wallet.openingLink(session);
    if (link) {
      open.href = link;
      open.hidden = false;
    }
    const signature = wallet.askSignature(phone, session, hexOf(text), address);
    showNote({ tone: "plain", text: interpolate(gettext("Waiting for %s on your phone…"), [name]) });
    late = setTimeout(
      () => showNote({ tone: "plain", text: interpolate(gettext("%s has not answered. Open it on your phone; nothing was lost."), [name]) }),
      60_000,
    );
    send(await signature);
  } catch (error) {
    again.hidden = false;
    showNote({ tone: "danger", text: wallet.describe(error, relay) });
  } finally {
    clearTimeout(late);
    press.disabled = false;
  }
}

const sign = { demo: signWithDemoWallet, wallet: signWithWallet, phone: signWithPhone }[signer];
if (sign) {
  press.addEventListener("click", sign);
  if (auto) sign();
}
