// Opens messages beside the list (below 1280 px over it) and appends older ones, keeping the
// list's tab, filters, loaded rows and scroll position. Without JavaScript the same links load
// pages.
import { anchor, insertRows, place } from "./place.js";
import { focusRow, keepOpened } from "./rows.js";
import { showStatus } from "./status.js";

const MAX_ROWS = 600;
const beside = matchMedia("(min-width: 80rem)");
// Scroll position of the list before a message covered it.
let leftAt = 0;
let leftRows = null;

const list = () => document.querySelector("[data-path]");
export const openDetail = () => document.querySelector(".inbox__detail");
const openId = () => openDetail()?.dataset.message ?? "";

export function listenForInbox() {
  if (!list()) return;
  if (openDetail()) keepOpened(openId());
  document.addEventListener("click", (event) => {
    if (event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    const link = event.target.closest("a");
    if (link?.matches("[data-path] .row__link")) handle(event, () => open(hrefOf(link)));
    else if (link?.matches("[data-close]")) handle(event, closeDetail);
    else if (link?.matches("[data-older]") && shown() < MAX_ROWS) handle(event, () => loadOlder(link));
    else if (event.target.closest("[data-arrivals]")) showArrivals();
  });
  addEventListener("popstate", () => {
    if (!list()) return;
    if (location.pathname === list().dataset.path) {
      close();
      history.scrollRestoration = "auto";
    } else if (!openId() || !location.pathname.endsWith(`/${openId().replace("message-", "")}`)) show(location.href);
  });
  let archived = false;
  document.addEventListener("submit", ({ submitter }) => {
    // From its own buttons or from those of its row.
    const [act, number] = (submitter?.value ?? "").split(":");
    archived = (["archive", "unarchive", "delete"].includes(act) || act.startsWith("snooze-")) && openId() === `message-${number}`;
  });
  // An archived message is no longer in this list, so close it.
  document.body.addEventListener("done", () => {
    if (archived) closeDetail();
    archived = false;
  });
}

function handle(event, action) {
  event.preventDefault();
  action();
}

const shown = () => list().querySelectorAll(":scope > [data-row]").length;

/** Query parameters of the list: tab, filters and number of loaded rows. */
function listState() {
  const state = new URLSearchParams(location.search);
  if (!state.has("tab")) state.set("tab", list().dataset.tab);
  return state;
}

function hrefOf(link) {
  const url = new URL(link.href);
  url.search = listState();
  return url.href;
}

async function open(href) {
  const wasOpen = Boolean(openDetail());
  if (!wasOpen) [leftAt, leftRows] = [scrollY, anchor()];
  if (!(await show(href))) return location.assign(href);
  // One history entry for any number of opened messages: Back returns to the list.
  if (wasOpen) history.replaceState(history.state, "", href);
  else {
    // close() restores the scroll position itself.
    history.scrollRestoration = "manual";
    history.pushState({ opened: true }, "", href);
  }
}

async function show(href) {
  const html = await fetchDetail(href);
  if (html === null) return false;
  const template = document.createElement("template");
  template.innerHTML = html;
  const detail = template.content.querySelector(".inbox__detail");
  if (!detail) return false;
  keepOpened(detail.dataset.message);
  const held = anchor();
  detail.remove();
  openDetail()?.remove();
  document.querySelector(".inbox").append(detail);
  window.htmx.process(detail);
  await place(template.innerHTML);
  select(detail.dataset.message);
  document.querySelector(".column--inbox").classList.add("has-selected");
  held.restore();
  if (!beside.matches) {
    scrollTo(0, 0);
    detail.querySelector(".detail__title")?.focus({ preventScroll: true });
  }
  return true;
}

async function fetchDetail(href, headers = {}) {
  try {
    const response = await fetch(href, { headers: { "X-Detail": "1", ...headers }, redirect: "manual" });
    return response.ok ? await response.text() : null;
  } catch {
    return null;
  }
}

/** Reload the open message after it changed; false if that failed. */
export async function refreshDetail() {
  const present = openDetail();
  if (!present) return true;
  const html = await fetchDetail(location.href, { "X-Refetch": "1" });
  if (html === null) return false;
  const template = document.createElement("template");
  template.innerHTML = html;
  const fresh = template.content.querySelector(".inbox__detail");
  if (!fresh || fresh.dataset.message !== openId()) return false;
  await window.htmx.swap({ text: fresh.outerHTML, target: present, swap: "outerMorph" });
  return true;
}

function select(id) {
  for (const row of list().querySelectorAll(".is-selected")) row.classList.remove("is-selected");
  document.getElementById(id)?.classList.add("is-selected");
}

/** Back to the list, at its previous scroll position. */
export function closeDetail() {
  if (history.state?.opened) return history.back();
  history.pushState({}, "", `${list().dataset.path}?${listState()}`);
  close();
}

function close() {
  const detail = openDetail();
  if (!detail) return;
  const id = detail.dataset.message;
  const all = [...list().querySelectorAll(":scope > [data-row]")];
  const row = document.getElementById(id) ?? all.find((other) => Number(other.dataset.sort) <= Number(detail.dataset.sort)) ?? all.at(-1);
  const held = anchor();
  detail.remove();
  select("");
  document.querySelector(".column--inbox").classList.remove("has-selected");
  if (beside.matches) held.restore();
  else {
    // Rows that arrived meanwhile are above it.
    scrollTo(0, leftAt);
    leftRows?.restore();
  }
  row?.querySelector("a.row__link")?.focus({ preventScroll: true });
  row?.scrollIntoView({ block: "nearest" });
}

async function loadOlder(link) {
  if (link.getAttribute("aria-busy") === "true") return;
  link.setAttribute("aria-busy", "true");
  let fresh = null;
  try {
    const response = await fetch(link.href, { headers: { "X-Refetch": "1" }, redirect: "manual" });
    if (response.ok) fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  } catch {
    // Reported below, like an error status.
  }
  link.removeAttribute("aria-busy");
  const rows = fresh?.querySelectorAll("[data-path] > [data-row]");
  if (!rows) return showStatus(gettext("Older notifications could not be loaded. Try again."));
  const hadFocus = document.activeElement === link;
  const added = insertRows(list(), [...rows]);
  const next = fresh.querySelector("[data-older]");
  if (next) link.setAttribute("href", next.getAttribute("href"));
  else link.closest("p").remove();
  if (hadFocus && !next) focusRow(added[0]);
  const state = listState();
  state.set("rows", String(Math.min(MAX_ROWS, Math.ceil(shown() / 60) * 60)));
  history.replaceState(history.state, "", `${location.pathname}?${state}`);
  showStatus(interpolate(gettext("%s older loaded."), [added.length]));
}

// Arrivals while the connection was lost ----------------------------------------------------

let waiting = 0;

/** Show how many rows are new; they are above the reading position, which does not move. */
export function addArrivals(number) {
  const bar = document.getElementById("arrivals");
  if (!bar || number <= 0) return;
  const held = anchor();
  waiting += number;
  const count = waiting > 999 ? "999+" : String(waiting);
  bar.querySelector("[data-arrivals-text]").textContent = interpolate(gettext("%s new while you were away"), [count]);
  bar.hidden = false;
  held.restore();
}

function showArrivals() {
  waiting = 0;
  document.getElementById("arrivals").hidden = true;
  const detached = "held" in list().dataset;
  if (openDetail() && !beside.matches) closeDetail();
  scrollTo(0, 0);
  if (detached) document.dispatchEvent(new CustomEvent("list:reload"));
  else focusRow(list().querySelector(":scope > [data-row]"));
}
