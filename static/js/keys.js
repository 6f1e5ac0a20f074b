// Single-key shortcuts, which users can turn off (WCAG 2.1.4). They are inactive while typing
// and act on the focused or the open message. Escape and the arrow keys always work.
import { closeDetail, openDetail } from "./inbox.js";
import { focusMenu, menuItem } from "./row-menu.js";
import { focusedRow, moveFocus } from "./rows.js";

const SECTIONS = { i: "/inbox", s: "/subscriptions", d: "/discover", v: "/devices", c: "/console" };
const SECOND_KEY_MS = 1_500;
let firstKeyAt = 0;

const dialog = () => document.getElementById("shortcuts");
const isOff = () => /(^|; )shortcuts=off/.test(document.cookie);
const isTyping = (element) =>
  element.closest("textarea, select, [contenteditable], input:not([type=checkbox], [type=radio], [type=button], [type=submit])");

function press(name) {
  const target = focusedRow() ?? openDetail();
  const button = target?.querySelector(`[data-key="${name}"]`) ?? menuItem(target, name);
  button?.click();
}

function goTo(section) {
  // Click the navigation link, because it keeps the chosen account.
  const path = SECTIONS[section];
  if (path) (document.querySelector(`.rail nav a[href^="${path}"]`) ?? { click: () => location.assign(path) }).click();
}

const ACTIONS = {
  j: () => moveFocus(1),
  k: () => moveFocus(-1),
  e: () => press("e"),
  y: () => press("y"),
  d: () => press("d"),
  r: () => press("r"),
  b: () => {
    press("b");
    focusMenu();
  },
  m: () => openDetail()?.querySelector("[data-mute] button")?.focus(),
  x: () => focusedRow()?.querySelector("[name=chosen]")?.click(),
  u: () => document.querySelector("#status button")?.click(),
  g: () => (firstKeyAt = Date.now()),
  "/": () => document.querySelector("[data-search]")?.focus(),
  "?": () => dialog()?.showModal(),
};

/** Escape: blur the field, close the open message, or clear the chosen rows. */
function escape(event) {
  if (document.querySelector("dialog[open], :popover-open")) return;
  if (isTyping(event.target)) return event.target.blur();
  if (openDetail()) return closeDetail();
  for (const box of document.querySelectorAll("[name=chosen]:checked")) {
    box.checked = false;
    box.dispatchEvent(new Event("change", { bubbles: true }));
  }
}

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (event.key === "Escape") return escape(event);
  if (isOff() || isTyping(event.target) || document.querySelector("dialog[open]")) return;
  if (Date.now() - firstKeyAt < SECOND_KEY_MS) {
    firstKeyAt = 0;
    return goTo(event.key);
  }
  const action = ACTIONS[event.key];
  if (!action) return;
  event.preventDefault();
  action();
}

export function listenForKeys() {
  document.addEventListener("keydown", pressed);
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-shortcuts]")) {
      document.getElementById("account-menu")?.hidePopover();
      dialog()?.showModal();
    }
    if (event.target === dialog()) dialog().close();
  });
}
