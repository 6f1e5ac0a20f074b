// The page of phone wallets: once it is asked to, it shows the code of a new pairing, waits for the
// wallet, and begins the sign-in with the account that it shares.
import { addressesOf, describe, end, isUsed, openClient, propose, watchRelay } from "./phone-wallet.js";

const place = document.getElementById("phone");
const part = (name) => document.getElementById(`phone-${name}`);
const form = document.getElementById("choose");
const { relay, code } = place.dataset;
// In the address: the person has asked for a code.
const STARTED = "code";
let client;

function show({ note = "", problem = "", uri = "" }) {
  part("note").textContent = note;
  part("problem-text").textContent = problem;
  part("problem").hidden = !problem;
  part("code").hidden = !uri;
  part("accounts").hidden = true;
  part("start").hidden = true;
}

/** Load the page again and go on with a new code: a client starts once in a document. */
function restart() {
  location.hash = STARTED;
  location.reload();
}

function choose(address, session) {
  form.elements.address.value = address;
  form.elements.wallet.value = session.peer.metadata.name.slice(0, 128);
  form.requestSubmit();
}

async function drawCode(uri) {
  const body = new URLSearchParams({ uri, csrfmiddlewaretoken: form.elements.csrfmiddlewaretoken.value });
  const response = await fetch(code, { method: "POST", body });
  // A code that cannot be drawn is no reason to stop: the link works without it.
  part("qr").hidden = !response.ok;
  part("qr").innerHTML = response.ok ? await response.text() : "";
  part("link").href = uri;
  part("uri").textContent = uri;
}

const waiting = gettext("Waiting for a wallet. The code is valid for five minutes.");

async function pair() {
  show({ note: gettext("Connecting to the relay…") });
  try {
    client ??= await openClient(place.dataset).then((opened) => {
      watchRelay(opened, (connected) => {
        if (!part("code").hidden)
          part("note").textContent = connected ? waiting : gettext("The connection to the relay broke. It is being restored…");
      });
      return opened;
    });
    const { uri, approval } = await propose(client);
    await drawCode(uri);
    show({ note: waiting, uri });
    const session = await approval();
    const addresses = addressesOf(session);
    if (addresses.length === 1) {
      show({ note: gettext("Connected.") });
      return choose(addresses[0], session);
    }
    show({ note: gettext("Connected. The wallet shared several accounts.") });
    part("choices").replaceChildren(
      ...addresses.map((address) => {
        const press = document.createElement("button");
        press.type = "button";
        press.className = "choice mono small";
        press.textContent = address;
        press.addEventListener("click", () => choose(address, session));
        const item = document.createElement("li");
        item.append(press);
        return item;
      }),
    );
    part("accounts").hidden = false;
    part("choices").querySelector("button").focus();
  } catch (error) {
    show({ problem: describe(error, relay) });
    part("retry").focus();
  }
}

part("retry").addEventListener("click", async () => {
  // A wallet that was connected without a usable account must not keep the session.
  if (client?.session.length) await end(place.dataset);
  else if (client) return pair();
  restart();
});
part("start").addEventListener("click", () => pair());
// It was not pressed in vain before.
part("start").disabled = false;

if (isUsed()) {
  // What is left of a sign-in that was given up in this tab.
  await end(place.dataset);
  location.reload();
} else if (location.hash === `#${STARTED}`) pair();
