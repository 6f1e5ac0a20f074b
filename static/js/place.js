// Inserts rows that the server rendered. A row has an id, its kind of list in data-list, and the
// values that filters compare in data-*; a list has its filters in data-filter-*. So the server
// renders a row once for all pages and filters.
import { closeMenuOf } from "./row-menu.js";
import { focusRow, openedNumbers, rove, wasOpened } from "./rows.js";
import { dayOf, formatDay, writeTimes } from "./times.js";
import { updateTitle } from "./unread.js";

/** Insert or update every row in `html`; returns those that are new on this page. */
export async function place(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  const arrived = [];
  const held = anchor();
  // New rows of each changed list, by id. They are inserted together: each step below looks
  // through the whole list.
  const changed = new Map();
  for (const row of [...template.content.children]) await placeOne(row, changed);
  for (const [list, rows] of changed) {
    insert(list, [...rows.values()]);
    arrived.push(...rows.values());
    tidy(list);
  }
  rove();
  held.restore();
  updateTitle();
  return arrived;
}

/** Insert rows from another page of the list; returns those that are new. */
export function insertRows(list, rows) {
  const added = rows.filter((row) => !document.getElementById(row.id));
  const held = anchor();
  insert(list, added.map((row) => document.adoptNode(row)));
  tidy(list);
  rove();
  held.restore();
  return added;
}

/**
 * The reading position: the focused row, otherwise the first rows in view. `restore()` scrolls it
 * back to where it was. At the top of the page nothing is anchored, so that new rows are visible.
 */
export function anchor() {
  const focused = document.activeElement?.matches(":focus-visible")
    ? document.activeElement.closest("[data-list-of] > [data-row]")
    : null;
  const visible = scrollY < TOP_PX ? [] : [...document.querySelectorAll("[data-list-of] > [data-row]")].filter(isInView);
  const held = [focused && isInView(focused) ? focused : null, ...visible.slice(0, 20)]
    .filter(Boolean)
    .map((row) => [row.id, row.getBoundingClientRect().top - (drift.at === scrollY ? drift.by : 0)]);
  return {
    rowId: held[0]?.[0],
    restore() {
      for (const [id, top] of held) {
        const row = document.getElementById(id);
        if (!row || row.offsetParent === null) continue;
        scrollBy({ top: row.getBoundingClientRect().top - top, behavior: "instant" });
        drift = { at: scrollY, by: row.getBoundingClientRect().top - top };
        return;
      }
    },
  };
}

// Scrolling rounds to whole pixels; the remainder is corrected the next time.
let drift = { at: 0, by: 0 };
const TOP_PX = 24;
const BAR_PX = 56;
// Rows above the reading position that are reloaded; the limit keeps long lists fast.
const MAX_ABOVE = 200;

function isInView(row) {
  const { top, bottom, height } = row.getBoundingClientRect();
  return height > 0 && bottom > BAR_PX + height / 2 && top < innerHeight;
}

async function placeOne(row, changed) {
  const present = document.getElementById(row.id);
  const name = row.dataset.list;
  const list = name && (present?.closest("[data-list-of]") ?? document.querySelector(`[data-list-of="${name}"]`));
  if (!list) {
    if (present) await morph(present, row);
    return;
  }
  const wanted = !("gone" in row.dataset) && shows(list, row);
  if (present?.classList.contains("is-selected")) row.classList.add("is-selected");
  const link = list.dataset.query && row.querySelector("a.row__link");
  if (link) link.setAttribute("href", `${link.getAttribute("href").split("?")[0]}?${list.dataset.query}`);
  if (!changed.has(list)) changed.set(list, new Map());
  if (present && !wanted) remove(present);
  else if (present) await morph(present, row);
  else if (wanted && takesNew(list, row)) changed.get(list).set(row.id, row);
  else if (wanted) changed.get(list).delete(row.id);
}

async function morph(present, row) {
  const held = document.activeElement?.id;
  await window.htmx.swap({ text: row.outerHTML, target: present, swap: "outerMorph" });
  const element = document.getElementById(row.id);
  if (element) writeTimes(element);
  if (held && document.activeElement?.id !== held) document.getElementById(held)?.focus();
}

/** A list that begins further down (`data-held`) leaves what is newer to the arrivals bar. */
function takesNew(list, row) {
  // An undo returns what this page has shown before.
  if (removed.has(row.id)) return true;
  if ("open" in list.dataset) return false;
  return !("held" in list.dataset) || key(row) <= key(rowsOf(list)[0] ?? row);
}

/** Whether the list's filters admit the row: data-filter-account="3" wants data-account="3". */
function shows(list, row) {
  for (const [name, value] of Object.entries(list.dataset)) {
    if (!name.startsWith("filter") || value === "") continue;
    // Rows opened on this page stay, so that the list does not move.
    if (name === "filterUnread" && wasOpened(row.id)) continue;
    const field = name.slice(6, 7).toLowerCase() + name.slice(7);
    if (row.dataset[field] !== value) return false;
  }
  return true;
}

const rowsOf = (list) => list.querySelectorAll(":scope > [data-sort]");
const key = (row) => Number(row.dataset.sort);

function insert(list, rows) {
  const sign = list.dataset.order === "ascending" ? 1 : -1;
  const others = [...rowsOf(list)];
  let place = 0;
  let block = document.createDocumentFragment();
  const flush = () => {
    const before = others[place]?.previousElementSibling;
    // A day heading belongs to the row after it.
    list.insertBefore(block, before?.classList.contains("day") ? before : (others[place] ?? null));
    block = document.createDocumentFragment();
  };
  for (const row of rows.sort((one, other) => sign * (key(one) - key(other)))) {
    let next = place;
    while (next < others.length && sign * (key(others[next]) - key(row)) <= 0) next += 1;
    if (next !== place && block.hasChildNodes()) flush();
    place = next;
    block.append(row);
  }
  flush();
  for (const row of rows) {
    window.htmx.process(row);
    writeTimes(row);
  }
}

const removed = new Set();

function remove(row) {
  closeMenuOf(row);
  removed.add(row.id);
  if (row.contains(document.activeElement)) {
    const all = [...rowsOf(row.parentElement)];
    const index = all.indexOf(row);
    const next = all[index + 1] ?? all[index - 1];
    if (next) focusRow(next);
    else document.getElementById("main")?.focus();
  }
  row.remove();
}

function tidy(list) {
  if ("days" in list.dataset) writeDays(list);
  const empty = rowsOf(list).length === 0;
  for (const other of document.querySelectorAll(`[data-empty="${list.dataset.listOf}"]`))
    other.hidden = !empty;
  for (const other of document.querySelectorAll(`[data-filled="${list.dataset.listOf}"]`))
    other.hidden = empty;
}

/** One heading before the first row of each day. */
function writeDays(list) {
  for (const heading of list.querySelectorAll(":scope > .day")) heading.remove();
  let last = "";
  for (const row of rowsOf(list)) {
    const at = new Date(Number(row.dataset.sort));
    const day = dayOf(at);
    if (day === last) continue;
    last = day;
    const heading = document.createElement("li");
    heading.className = "day";
    const time = document.createElement("time");
    time.dateTime = at.toISOString();
    time.dataset.when = "day";
    time.textContent = formatDay(at);
    const title = document.createElement("h2");
    title.append(time);
    heading.append(title);
    row.before(heading);
  }
}

/**
 * Reload this page's content and morph the changes. The server counts the rows newer than the
 * newest one here. If there are many and the user has scrolled down, it renders the list from the
 * current rows on, so that the reading position stays in it.
 */
export async function refetch({ toTop = false } = {}) {
  const list = document.querySelector("[data-path]");
  const rows = list ? [...rowsOf(list)] : [];
  const read = toTop ? -1 : rows.findIndex((row) => row.id === anchor().rowId);
  const first = Math.max(0, read - MAX_ABOVE);
  const headers = { "X-Refetch": "1" };
  if (rows.length) headers["X-Newest-Row"] = rows[first].id.replace("message-", "");
  if (read >= 0) headers["X-Hold-Rows"] = String(rows.length - first);
  if (openedNumbers().length) headers["X-Opened-Rows"] = openedNumbers().join();
  const response = await fetch(location.href, { headers, redirect: "manual" });
  if (response.type === "opaqueredirect" || response.status === 403) {
    location.reload();
    return null;
  }
  if (!response.ok) return null;
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  const main = fresh.getElementById("main");
  if (!main) return null;
  const held = anchor();
  // The server shows a message once, so those of this response are added to those that stay.
  document.getElementById("flash-messages")?.append(...(fresh.getElementById("flash-messages")?.children ?? []));
  await morph(document.getElementById("main"), main);
  const counter = fresh.getElementById("unread-count");
  const present = document.getElementById("unread-count");
  if (counter && present) await morph(present, counter);
  rove();
  held.restore();
  updateTitle();
  const { generation, sequence } = fresh.body.dataset;
  const newer = Math.max(0, Number(fresh.querySelector("[data-path]")?.dataset.newer ?? 0) - first);
  return generation ? { generation, sequence: Number(sequence), newer } : null;
}
