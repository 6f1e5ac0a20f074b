// Live updates over /ws/device/. The browser keeps a cursor (the number of the last change that
// it shows); on connect it names the cursor and the server sends what it missed. Heartbeats
// carry the newest number, so a lost frame is noticed; an answer of "refetch" loads the page's
// content anew. When the socket cannot be had, the same frames are fetched by polling. "Live" is
// shown only while the cursor is at the newest number that the server named.
import { addArrivals, refreshDetail } from "./inbox.js";
import { place, refetch } from "./place.js";
import { announce, say } from "./status.js";

const SIGNED_OUT = 4401;
const SILENCE_MS = 40_000;
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 30_000;
const FAILURES_BEFORE_POLLING = 3;
const POLL_MS = 5_000;
// A page that has just opened says nothing about its connection for so long.
const QUIET_START_MS = 1_000;
// Behind for so long without a step forward: ask again, then connect again, then load the page.
const BEHIND_MS = 10_000;
const RETRY_LOAD_MS = 2_000;

const live = {
  path: "",
  generation: "",
  sequence: 0,
  // The newest number that the server named.
  head: 0,
  // The server has answered to our cursor on this connection.
  isConfirmed: false,
  // The content has to be loaded anew before it is the truth again.
  isStale: false,
  behindSince: 0,
  strikes: 0,
  // Since the connection was lost: what arrives until it is caught up is counted.
  isAway: false,
  arrivals: 0,
  startedAt: Date.now(),
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
  live.sequence = live.head = Number(body.dataset.sequence);
  connect();
  setInterval(tick, 1_000);
  setTimeout(describe, QUIET_START_MS);
  addEventListener("online", () => reconnectIn(0));
  addEventListener("offline", () => {
    disconnect();
    describe();
  });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && !isOpen()) reconnectIn(0);
  });
  // A page that comes back from the browser's cache shows an old cursor's content.
  addEventListener("pageshow", (event) => {
    if (!event.persisted) return;
    lose();
    reconnectIn(0);
  });
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-refetch]")) queue(() => loadAgain());
  });
  document.addEventListener("list:reload", () => queue(() => loadAgain({ toTop: true })));
}

const isOpen = () => live.socket?.readyState === WebSocket.OPEN;
const isCurrent = () => live.isConfirmed && !live.isStale && live.sequence >= live.head;
const send = (frame) => isOpen() && live.socket.send(JSON.stringify(frame));

function connect() {
  if (live.over) return;
  clearTimeout(live.retry);
  live.retry = 0;
  if (!navigator.onLine) return show("offline");
  const socket = new WebSocket(location.origin.replace(/^http/, "ws") + live.path);
  live.socket = socket;
  live.heardAt = Date.now();
  socket.addEventListener("open", () => {
    live.isConfirmed = false;
    resume();
  });
  socket.addEventListener("message", (event) => {
    live.heardAt = Date.now();
    live.failures = 0;
    stopPolling();
    const frame = JSON.parse(event.data);
    queue(() => take(frame));
  });
  socket.addEventListener("close", (event) => lostSocket(socket, event.code));
}

function lostSocket(socket, code) {
  if (!socket || live.socket !== socket) return;
  live.socket = null;
  // Polling goes on without it.
  if (!live.poll) lose();
  if (code === SIGNED_OUT || live.over) return;
  live.failures += 1;
  if (live.failures >= FAILURES_BEFORE_POLLING) startPolling();
  const wait = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** (live.failures - 1));
  reconnectIn(wait * (0.7 + 0.6 * Math.random()));
}

/** Give the socket up now: without a network its own close event may take minutes. */
function disconnect() {
  const socket = live.socket;
  socket?.close();
  lostSocket(socket);
}

/** From here on the content may be old, until the server confirms the cursor again. */
function lose() {
  if (live.isConfirmed) live.isAway = true;
  live.isConfirmed = false;
}

function resume() {
  live.behindSince = Date.now();
  send({ type: "resume", generation: live.generation, sequence: live.sequence });
}

function reconnectIn(wait) {
  if (live.over || isOpen()) return;
  clearTimeout(live.retry);
  live.retryAt = Date.now() + wait;
  live.retry = setTimeout(connect, wait);
  describe();
}

// One thing at a time: frames are shown in the order in which they came. What could not be shown
// must not be skipped: the page is loaded anew.
function queue(task) {
  work = work.then(task).catch((error) => {
    console.error("live update failed", error);
    live.isStale = true;
    live.behindSince = Date.now() - BEHIND_MS + RETRY_LOAD_MS;
    describe();
  });
}

async function take(frame) {
  if (frame.type === "events") await takeEvents(frame);
  else if (frame.type === "heartbeat") takeHeartbeat(frame);
  else if (frame.type === "refetch") await loadAgain();
  else if (frame.type === "revoked") signedOut(frame.html);
  if (isCurrent()) comeBack();
  describe();
}

async function takeEvents({ after, head, newest, frames, generation }) {
  if (generation !== live.generation) return;
  live.head = Math.max(live.head, newest ?? head);
  if (head < live.sequence || after > live.sequence) return after > live.sequence && resume();
  live.isConfirmed = true;
  if (head === live.sequence) return;
  const subjects = new Set();
  for (const frame of frames) {
    const arrived = await place(frame.html);
    for (const subject of frame.subjects ?? []) subjects.add(subject);
    for (const row of arrived) tell(row);
  }
  moveTo(head);
  send({ type: "ack", sequence: head });
  document.dispatchEvent(new CustomEvent("live:events", { detail: { frames } }));
  const watchers = watchersOf(subjects);
  if (watchers.length === 0) return;
  clearTimeout(watching);
  const reload = watchers.every((element) => "part" in element.dataset) ? refreshPart : () => loadAgain();
  watching = setTimeout(() => queue(reload), 60);
}

function moveTo(sequence) {
  live.sequence = sequence;
  live.head = Math.max(live.head, sequence);
  live.behindSince = Date.now();
  live.strikes = 0;
}

function comeBack() {
  if (!live.isAway) return;
  live.isAway = false;
  addArrivals(live.arrivals);
  live.arrivals = 0;
}

async function refreshPart() {
  if (!(await refreshDetail())) await loadAgain();
}

/** Pages that show one thing in depth name it in data-watch and are loaded anew. */
function watchersOf(subjects) {
  return [...document.querySelectorAll("[data-watch]")].filter((element) =>
    element.dataset.watch.split(" ").some((name) => subjects.has(name)),
  );
}

function takeHeartbeat({ head, generation }) {
  if (generation !== live.generation || head < live.sequence) return queue(() => loadAgain());
  live.isConfirmed = true;
  if (head > live.head || live.sequence === head) live.behindSince = Date.now();
  live.head = head;
}

async function loadAgain({ toTop = false } = {}) {
  live.isStale = true;
  live.behindSince = Date.now() - BEHIND_MS + RETRY_LOAD_MS;
  describe();
  const state = await refetch({ toTop });
  if (!state) return;
  live.isStale = false;
  if (live.poll) live.isConfirmed = true;
  live.generation = state.generation;
  live.head = state.sequence;
  moveTo(state.sequence);
  if (live.isAway && !toTop) live.arrivals += state.newer;
  resume();
  describe();
}

function tell(row) {
  const { list, announceOne, announceMany } = row.dataset;
  if (list === "messages" && live.isAway) live.arrivals += 1;
  else if (announceOne) announceRow(list, announceOne, announceMany);
}

function announceRow(list, announceOne, announceMany) {
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
      // More is due than one answer holds.
      if (live.poll && frame.newest > frame.head) {
        clearTimeout(live.poll);
        queue(() => live.poll && ask());
      }
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
  if (isOpen() && Date.now() - live.heardAt > SILENCE_MS) disconnect();
  const isAsking = isOpen() || live.poll;
  if (isAsking && !isCurrent() && Date.now() - live.behindSince > BEHIND_MS) goOn();
  describe();
}

/** Behind and nothing comes: whatever the reason, the next step is a stronger one. */
function goOn() {
  live.strikes += 1;
  live.behindSince = Date.now();
  if (live.isStale || live.strikes > 2) queue(() => loadAgain());
  else if (live.strikes === 1) resume();
  else disconnect();
}

function describe() {
  const silent = Date.now() - live.heardAt;
  if (live.over) return show("signed-out");
  if (!navigator.onLine) return show("offline");
  if (isOpen() && isCurrent()) return show("live");
  if (!isOpen() && live.poll && isCurrent() && silent < 3 * POLL_MS) return show("polling");
  if (!live.isAway && live.failures === 0 && Date.now() - live.startedAt < QUIET_START_MS) return;
  return show(isOpen() && live.isConfirmed ? "behind" : "reconnecting");
}

const clock = (at) => new Date(at).toTimeString().slice(0, 5);
const WORDS = {
  live: () => ["Live", "Changes on other devices appear here as they happen."],
  behind: () => ["Catching up…", `Number ${live.sequence} of ${live.head} is shown; the rest is being fetched.`],
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
