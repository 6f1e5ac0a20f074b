// Keyboard navigation of lists. A list is one Tab stop (roving tabindex): Tab reaches the controls
// of the current row; arrows, j and k move between rows.

let currentId = "";
const opened = new Set();

export const rows = () =>
  [...document.querySelectorAll("[data-row]")].filter((row) => row.offsetParent !== null);

/** The row that has the focus, or null. */
export const focusedRow = () => document.activeElement?.closest?.("[data-row]") ?? null;

/** A row that was opened on this page stays in the Unread tab until the page is left. */
export const keepOpened = (id) => opened.add(id);
export const wasOpened = (id) => opened.has(id);
export const openedNumbers = () => [...opened].slice(-50).map((id) => id.replace("message-", ""));

export function focusRow(row) {
  (row?.querySelector("a.row__link") ?? row?.querySelector("a, button"))?.focus();
}

/** Move the focus by `by` rows; without a focused row, to the last focused or the first. */
export function moveFocus(by) {
  const all = rows();
  const from = all.indexOf(focusedRow());
  if (from >= 0) return focusRow(all[Math.max(0, Math.min(all.length - 1, from + by))]);
  focusRow(all.find((row) => row.id === currentId) ?? all[0]);
}

const CONTROLS = ":is(a, button, input, summary)";

/** Make each list one Tab stop again after rows were added, removed or morphed. */
export function rove() {
  for (const list of document.querySelectorAll("[data-list-of]")) {
    const current = list.querySelector(`:scope > [data-row][id="${currentId}"]`) ?? list.querySelector(":scope > [data-row]");
    if (!current) continue;
    // One query for the few that differ: a list has thousands of controls.
    for (const control of list.querySelectorAll(`:scope > [data-row] ${CONTROLS}:not([tabindex="-1"])`))
      if (!current.contains(control)) control.setAttribute("tabindex", "-1");
    for (const control of current.querySelectorAll(CONTROLS)) {
      if (control.matches(".row__link")) control.setAttribute("tabindex", "0");
      else control.removeAttribute("tabindex");
    }
  }
}

export function listenForRows() {
  rove();
  document.addEventListener("focusin", ({ target }) => {
    const row = target.closest("[data-list-of] > [data-row]");
    if (!row || row.id === currentId) return;
    currentId = row.id;
    rove();
  });
  document.addEventListener("keydown", (event) => {
    if (!["ArrowDown", "ArrowUp"].includes(event.key) || event.altKey || event.ctrlKey || event.metaKey) return;
    if (!event.target.matches("[data-list-of] > [data-row] *")) return;
    event.preventDefault();
    moveFocus(event.key === "ArrowDown" ? 1 : -1);
  });
}
