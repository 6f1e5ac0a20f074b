// Live updates over /ws/device/. The browser keeps a cursor (the number of the last change that
// it shows); on connect it names the cursor and the server sends what it missed. Heartbeats
// carry the newest number, so a lost frame is noticed; an answer of "refetch" loads the page's
// content anew. When the socket cannot be had, the same frames are fetched by polling.
import { place, refetch } from "./place.js";
import { announce, say } from "./status.js";

const SILENCE_MS = 40_000;
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 30_000;
const FAILURES_BEFORE_POLLING = 3;
const POLL_MS = 5_000;

const live = {
  path: "",
  generation: "",
  sequence: 0,
  socket: null,
  failures: 0,
  heardAt: Date.now(),
  retry: 0,
  poll: 0,
  over: false,
};
let work = Promise.resolve();
let watching = 0;

export function startLive(body) {
  if (!body.dataset.live) return;
  live.path = body.dataset.live;
  live.generation = body.dataset.generation;
  live.sequence = Number(body.dataset.sequence);
  connect();
  setInterval(tick, 1_000);
  addEventListener("online", () => reconnectIn(0));
  addEventListener("offline", () => live.socket?.close());
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && !isOpen()) reconnectIn(0);
  });
  // A page that comes back from the browser's cache shows an old cursor's content.
  addEventListener("pageshow", (event) => event.persisted && reconnectIn(0));
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-refetch]")) queue(loadAgain);
  });
}

const isOpen = () => live.socket?.readyState === WebSocket.OPEN;
const send = (frame) => isOpen() && live.socket.send(JSON.stringify(frame));

function connect() {
  if (live.over) return;
  clearTimeout(live.retry);
  live.retry = 0;
  if (!navigator.onLine) return show("offline");
  const socket = new WebSocket(location.origin.replace(/^http/, "ws") + live.path);
  live.socket = socket;
  live.heardAt = Date.now();
  socket.addEventListener("open", resume);
  socket.addEventListener("message", (event) => {
    live.heardAt = Date.now();
    live.failures = 0;
    stopPolling();
    const frame = JSON.parse(event.data);
    queue(() => take(frame));
  });
  socket.addEventListener("close", (event) => {
    if (live.socket !== socket) return;
    live.socket = null;
    if (event.code === 4401 || live.over) return;
    live.failures += 1;
    if (live.failures >= FAILURES_BEFORE_POLLING) startPolling();
    const wait = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** (live.failures - 1));
    reconnectIn(wait * (0.7 + 0.6 * Math.random()));
  });
}

function resume() {
  send({ type: "resume", generation: live.generation, sequence: live.sequence });
}

function reconnectIn(wait) {
  if (live.over || isOpen()) return;
  clearTimeout(live.retry);
  live.retryAt = Date.now() + wait;
  live.retry = setTimeout(connect, wait);
  describe();
}

// One thing at a time: frames are shown in the order in which they came.
function queue(task) {
  work = work.then(task).catch((error) => console.error("live update failed", error));
}

async function take(frame) {
  if (frame.type === "events") await takeEvents(frame);
  else if (frame.type === "heartbeat") takeHeartbeat(frame);
  else if (frame.type === "refetch") await loadAgain();
  else if (frame.type === "revoked") signedOut(frame.html);
  describe();
}

async function takeEvents({ after, head, frames }) {
  if (head <= live.sequence) return;
  if (after > live.sequence) return resume();
  const subjects = new Set();
  for (const frame of frames) {
    const arrived = await place(frame.html);
    for (const subject of frame.subjects ?? []) subjects.add(subject);
    for (const row of arrived) tell(row);
  }
  live.sequence = head;
  send({ type: "ack", sequence: head });
  document.dispatchEvent(new CustomEvent("live:events", { detail: { frames } }));
  if (isWatched(subjects)) {
    clearTimeout(watching);
    watching = setTimeout(() => queue(loadAgain), 60);
  }
}

/** Pages that show one thing in depth name it in data-watch and are loaded anew. */
function isWatched(subjects) {
  return [...document.querySelectorAll("[data-watch]")].some((element) =>
    element.dataset.watch.split(" ").some((name) => subjects.has(name)),
  );
}

function takeHeartbeat({ head, generation }) {
  if (generation !== live.generation || head < live.sequence) queue(loadAgain);
  else if (head > live.sequence) resume();
}

async function loadAgain() {
  const state = await refetch();
  if (!state) return;
  live.generation = state.generation;
  live.sequence = state.sequence;
  resume();
  describe();
}

function tell(row) {
  const { list, announceOne, announceMany } = row.dataset;
  if (!announceOne) return;
  const top = scrollY > 240 && { label: "Show", run: () => scrollTo({ top: 0, behavior: "smooth" }) };
  announce(list, announceOne, announceMany, top || null);
}

function signedOut(html) {
  live.over = true;
  document.body.removeAttribute("data-live");
  document.title = "Signed out";
  document.body.innerHTML = html;
  document.querySelector("h1")?.focus();
}

// Polling ------------------------------------------------------------------------------

function startPolling() {
  if (live.poll || live.over) return;
  const ask = async () => {
    live.poll = setTimeout(ask, POLL_MS * (0.8 + 0.4 * Math.random()));
    if (document.hidden || !navigator.onLine) return;
    const query = new URLSearchParams({ generation: live.generation, sequence: live.sequence });
    try {
      const response = await fetch(`/live/events?${query}`, { redirect: "manual" });
      if (response.type === "opaqueredirect") return location.reload();
      if (!response.ok) return;
      live.heardAt = Date.now();
      const frame = await response.json();
      queue(() => take(frame));
    } catch {
      describe();
    }
  };
  live.poll = setTimeout(ask, 0);
}

function stopPolling() {
  clearTimeout(live.poll);
  live.poll = 0;
}

// The chip ------------------------------------------------------------------------------

function tick() {
  if (isOpen() && Date.now() - live.heardAt > SILENCE_MS) live.socket.close();
  describe();
}

function describe() {
  const silent = Date.now() - live.heardAt;
  if (live.over) return show("signed-out");
  if (!navigator.onLine) return show("offline");
  if (isOpen()) return show(document.hidden ? "paused" : "live");
  if (live.poll && silent < 3 * POLL_MS) return show("polling");
  return show("reconnecting");
}

const clock = (at) => new Date(at).toTimeString().slice(0, 5);
const WORDS = {
  live: () => ["Live", "Changes on other devices appear here as they happen."],
  paused: () => ["Live", "Changes keep arriving while this tab is in the background."],
  polling: () => ["Updates by polling", "The live connection is refused; changes are fetched every five seconds."],
  offline: () => [`Offline: showing ${clock(live.heardAt)}`, "You are offline. Reading works; changes are off."],
  "signed-out": () => ["Signed out", "This device was signed out."],
  reconnecting: () => {
    const wait = Math.max(0, Math.ceil(((live.retryAt ?? 0) - Date.now()) / 1000));
    return [wait ? `Reconnecting… ${wait} s` : "Connecting…", "Nothing is lost: what was missed comes with the connection."];
  },
};

function show(state) {
  const chip = document.getElementById("connection");
  if (!chip) return;
  const [short, long] = WORDS[state]();
  if (chip.dataset.state !== state) {
    if (state === "live" && chip.dataset.state === "offline") say("You are back online.");
    chip.dataset.state = state;
    document.body.toggleAttribute("data-offline", state === "offline");
  }
  write("[data-connection-words]", short);
  write("[data-connection-long]", long);
  write("[data-connection-sequence]", String(live.sequence));
  const age = Math.round((Date.now() - live.heardAt) / 1000);
  write("[data-connection-age]", age < 2 ? "just now" : `${age} s ago`);
}

function write(selector, text) {
  const element = document.querySelector(selector);
  if (element && element.textContent !== text) element.textContent = text;
}
