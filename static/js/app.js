// Entry point of every page. Pages work without JavaScript; it adds live updates and shortcuts.
import { storeZone, writeElapsed, writeTimes } from "./times.js";
import { listenForCopies } from "./copy.js";
import { listenForForms } from "./forms.js";
import { listenForInbox } from "./inbox.js";
import { listenForKeys } from "./keys.js";
import { startLive } from "./live.js";
import { listenForSwitchedWallet } from "./switched-wallet.js";
import { listenForOffline } from "./offline.js";
import { listenForRowMenu } from "./row-menu.js";
import { listenForRows } from "./rows.js";

storeZone();
writeTimes(document);
setInterval(() => writeTimes(document), 30_000);
setInterval(writeElapsed, 1_000);
document.addEventListener("htmx:after:swap", () => writeTimes(document));
listenForOffline();
listenForCopies();
listenForForms();
listenForRows();
listenForRowMenu();
listenForInbox();
listenForKeys();
listenForSwitchedWallet();
startLive(document.body);
// Bars that scroll show the tab of this page.
for (const bar of document.querySelectorAll(".tabs")) {
  const tab = bar.querySelector("[aria-current]")?.getBoundingClientRect();
  const shown = bar.getBoundingClientRect();
  if (tab) bar.scrollBy(tab.left + tab.width / 2 - shown.left - shown.width / 2, 0);
}
// An installed app has no address bar to try again with: the worker has a page for that.
if (matchMedia("(display-mode: standalone)").matches) navigator.serviceWorker?.register("/sw.js");
