// Offline, pages can be read but not changed: a banner explains it, and buttons that would send
// something are disabled with a reference to the banner.
import { anchor } from "./place.js";
import { showStatus } from "./status.js";

// Buttons that close a dialog send nothing.
const SUBMITS = "form:not([method=dialog]) :is(button:not([type=button]), input[type=submit])";

export const isOffline = () => !navigator.onLine;

export function listenForOffline() {
  addEventListener("online", apply);
  addEventListener("offline", apply);
  document.addEventListener("htmx:after:swap", () => isOffline() && apply());
  // In the capture phase, before htmx: Enter in a field submits without a button.
  document.addEventListener(
    "submit",
    (event) => {
      if (!isOffline() || event.target.method === "dialog") return;
      event.preventDefault();
      event.stopImmediatePropagation();
      showStatus(gettext("You are offline. Reading works; changes are off."));
    },
    true,
  );
  apply();
}

function apply() {
  const line = document.getElementById("offline");
  if (!line) return;
  const held = anchor();
  line.hidden = !isOffline();
  held.restore();
  for (const button of document.querySelectorAll(SUBMITS)) {
    if (isOffline()) disable(button);
    else if ("offline" in button.dataset) enable(button);
  }
}

function disable(button) {
  if (button.getAttribute("aria-disabled") === "true") return;
  button.dataset.offline = button.getAttribute("aria-describedby") ?? "";
  button.setAttribute("aria-disabled", "true");
  button.setAttribute("aria-describedby", "offline");
}

function enable(button) {
  button.removeAttribute("aria-disabled");
  if (button.dataset.offline) button.setAttribute("aria-describedby", button.dataset.offline);
  else button.removeAttribute("aria-describedby");
  delete button.dataset.offline;
}
