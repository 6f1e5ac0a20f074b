// The menu of message rows: one for all rows of the page, filled in for the row that opens it.
// Without JavaScript its button leads to a page with the same actions.

let opener = null;
// The button whose menu the pointer is closing: its click must not open it again.
let closing = null;

const menu = () => document.getElementById("row-menu");
const isOpen = () => Boolean(menu()?.matches(":popover-open"));

export function listenForRowMenu() {
  document.addEventListener("pointerdown", ({ target }) => {
    const button = target.closest("[data-row-menu]");
    closing = isOpen() && button === opener ? button : null;
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-row-menu]");
    if (!button || !menu()?.showPopover) return;
    event.preventDefault();
    if (button === closing) menu().hidePopover();
    else open(button);
    closing = null;
  });
  menu()?.addEventListener("toggle", ({ newState }) => {
    if (newState === "closed") opener?.setAttribute("aria-expanded", "false");
  });
}

function open(button) {
  menu().hidePopover();
  opener = button;
  fill(button.closest("[data-row]"));
  // The source is what the menu is placed beside, and where the focus returns to.
  menu().showPopover({ source: button });
  button.setAttribute("aria-expanded", "true");
}

function fill(row) {
  document.getElementById("row-menu-title").textContent = row.querySelector(".message__title").textContent;
  const number = row.id.replace("message-", "");
  for (const item of menu().querySelectorAll("[name=act]")) item.value = item.value.replace(/\d*$/, number);
  for (const item of menu().querySelectorAll("[data-unless]")) item.hidden = row.dataset[item.dataset.unless] === "yes";
  for (const item of menu().querySelectorAll("[data-only]")) item.hidden = row.dataset[item.dataset.only] !== "yes";
}

/** The menu's button for a shortcut key, filled in for `row`; null if it does not apply. */
export function menuItem(row, key) {
  if (!menu() || !row?.querySelector("[data-row-menu]")) return null;
  fill(row);
  return menu().querySelector(`[data-key="${key}"]:not([hidden])`);
}

/** Focus the first action of the open menu. */
export function focusMenu() {
  document.querySelector(":popover-open button:not([hidden], [hidden] *)")?.focus();
}

/** Close the menu if `row`, which leaves the page, has opened it. */
export function closeMenuOf(row) {
  if (isOpen() && row.contains(opener)) menu().hidePopover();
}
