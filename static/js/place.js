// Puts rows that the server rendered where they belong on this page. A row names itself by its
// id, the kind of list it lives in by data-list, and what filters ask for by data-*; a list says
// which rows it shows by data-filter-*. So one rendering serves every page and every filter.
import { dayOf, dayWords, writeTimes } from "./times.js";

/** Place every row in `html`; returns those that are new on this page. */
export async function place(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  const arrived = [];
  for (const row of [...template.content.children]) {
    if (await placeOne(row)) arrived.push(row);
  }
  return arrived;
}

async function placeOne(row) {
  const present = document.getElementById(row.id);
  const name = row.dataset.list;
  if (!name) {
    if (present) await morph(present, row);
    return false;
  }
  const list = present?.closest("[data-list-of]") ?? document.querySelector(`[data-list-of="${name}"]`);
  if (!list) {
    if (present) await morph(present, row);
    return false;
  }
  const wanted = !("gone" in row.dataset) && shows(list, row);
  if (present && !wanted) remove(present);
  else if (present) await morph(present, row);
  else if (wanted && !("open" in list.dataset)) insert(list, row);
  tidy(list);
  return wanted && !present;
}

async function morph(present, row) {
  const held = document.activeElement?.id;
  await window.htmx.swap({ text: row.outerHTML, target: present, swap: "outerMorph" });
  const element = document.getElementById(row.id);
  if (element) writeTimes(element);
  if (held && document.activeElement?.id !== held) document.getElementById(held)?.focus();
}

/** Whether the list's filters admit the row: data-filter-account="3" wants data-account="3". */
function shows(list, row) {
  for (const [name, value] of Object.entries(list.dataset)) {
    if (!name.startsWith("filter") || value === "") continue;
    const field = name.slice(6, 7).toLowerCase() + name.slice(7);
    if (row.dataset[field] !== value) return false;
  }
  return true;
}

const rowsOf = (list) => list.querySelectorAll(":scope > [data-sort]");
const key = (row) => Number(row.dataset.sort);

function insert(list, row) {
  const ascending = list.dataset.order === "ascending";
  const after = [...rowsOf(list)].find((other) =>
    ascending ? key(other) > key(row) : key(other) < key(row),
  );
  const before = after?.previousElementSibling;
  // A heading of a day belongs to the row behind it.
  list.insertBefore(row, before?.classList.contains("day") ? before : (after ?? null));
  window.htmx.process(row);
  writeTimes(row);
}

function remove(row) {
  if (row.contains(document.activeElement)) {
    const next = row.nextElementSibling ?? row.previousElementSibling;
    next?.querySelector("a, button")?.focus();
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
    const words = document.createElement("time");
    words.dateTime = at.toISOString();
    words.dataset.when = "day";
    words.textContent = dayWords(at);
    const title = document.createElement("h2");
    title.append(words);
    heading.append(title);
    row.before(heading);
  }
}

/** Ask for this page again and morph what changed; the answer is always the whole truth. */
export async function refetch() {
  const response = await fetch(location.href, { headers: { "X-Refetch": "1" }, redirect: "manual" });
  if (response.type === "opaqueredirect" || response.status === 403) {
    location.reload();
    return null;
  }
  if (!response.ok) return null;
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  const main = fresh.getElementById("main");
  if (!main) return null;
  await morph(document.getElementById("main"), main);
  for (const id of ["unread-count", "unread-tab-count"]) {
    const [here, there] = [document.getElementById(id), fresh.getElementById(id)];
    if (here && there) await morph(here, there);
  }
  const { generation, sequence } = fresh.body.dataset;
  return generation ? { generation, sequence: Number(sequence) } : null;
}
