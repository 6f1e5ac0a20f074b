// Single-key shortcuts. Inactive while typing, off when the person switched them off
// (WCAG 2.1.4); each has a visible control.

const PLACES = { i: "/inbox", s: "/subscriptions", d: "/discover", v: "/devices", c: "/console" };
let going = false;

const rows = () => [...document.querySelectorAll("[data-row]:not([hidden])")];
const current = () => document.activeElement?.closest?.("[data-row]");

function move(by) {
  const all = rows();
  const place = all.indexOf(current());
  const next = all[Math.max(0, Math.min(all.length - 1, place < 0 ? 0 : place + by))];
  next?.querySelector("a, button")?.focus();
}

function press(name) {
  const scope = current() ?? document.querySelector("main");
  scope?.querySelector(`[data-key="${name}"]`)?.click();
}

const ACTIONS = {
  j: () => move(1),
  k: () => move(-1),
  e: () => press("e"),
  y: () => press("y"),
  u: () => document.querySelector("#status button")?.click(),
  "/": () => document.querySelector("[data-search]")?.focus(),
  "?": () => document.getElementById("shortcuts")?.showPopover?.(),
};

export function listenForKeys() {
  if (document.cookie.includes("shortcuts=off")) return;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.target.closest("input, textarea, select, [contenteditable]")) return;
    if (going) {
      going = false;
      if (PLACES[event.key]) location.assign(PLACES[event.key]);
      return;
    }
    if (event.key === "g") {
      going = true;
      setTimeout(() => (going = false), 1500);
      return;
    }
    const action = ACTIONS[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
}
