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
