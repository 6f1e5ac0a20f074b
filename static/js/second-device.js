// "Open a second device": the other loopback name of this machine has separate cookies, so it is
// another device. The demo key is in the fragment, which browsers do not send to servers.
import { walletOf } from "./demo-wallet.js";

const OTHER_NAME = { localhost: "127.0.0.1", "127.0.0.1": "localhost" };

const offer = document.querySelector("[data-second-device]");
if (offer) {
  const wallet = await walletOf(offer.dataset.secondDevice);
  if (wallet) {
    const origin = new URL(location.origin);
    origin.hostname = OTHER_NAME[origin.hostname] ?? origin.hostname;
    const link = `${origin.origin}/join#key=${wallet.secret}`;
    for (const anchor of offer.querySelectorAll("[data-join]")) anchor.href = link;
    for (const button of offer.querySelectorAll("[data-join-copy]")) {
      const here = `${location.origin}/join#key=${wallet.secret}`;
      button.addEventListener("click", () => navigator.clipboard.writeText(here));
    }
    offer.hidden = false;
  }
}

const join = document.getElementById("join");
if (join) {
  const key = new URLSearchParams(location.hash.slice(1)).get("key") ?? "";
  // The key must not stay in the address bar or in the history.
  history.replaceState(null, "", location.pathname);
  const note = document.getElementById("join-note");
  try {
    if (!key) throw new Error("no demo key");
    const { adopt } = await import("./demo-keys.js");
    const wallet = await adopt(key);
    join.elements.address.value = wallet.address;
    join.requestSubmit();
  } catch {
    note.className = "error";
    note.textContent = gettext("This link contains no demo key. Open it again from the first device.");
  }
}
