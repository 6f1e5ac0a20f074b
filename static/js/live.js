// Live updates over /ws/device/. The browser keeps a cursor: the number of the last event it
// shows. On connect it sends the cursor, and the server sends the events after it. Heartbeats
// contain the newest number, which reveals a lost frame; "refetch" reloads the page's content.
// If WebSockets are blocked, the same frames are polled over HTTP. "Live" is shown only while
// the cursor equals the newest number received from the server.
import { addArrivals, refreshDetail } from "./inbox.js";
import { place, refetch } from "./place.js";
import { announce, showStatus } from "./status.js";

const SIGNED_OUT = 4401;
const SILENCE_MS = 40_000;
const FIRST_WAIT_MS = 500;
const MAX_WAIT_MS = 30_000;
const FAILURES_BEFORE_POLLING = 3;
const POLL_MS = 5_000;
// Do not show "Connecting…" before this: most connections are ready by then.
const QUIET_START_MS = 1_000;
// Without progress for this long: resume, then reconnect, then reload the content (escalate()).
const BEHIND_MS = 10_000;
const RETRY_LOAD_MS = 2_000;
// One acknowledgement for what arrives within this time, or at once after so many events. The
// server waits for half a minute and a thousand events.
const ACK_MS = 5_000;
const ACK_EVENTS = 200;

const live = {
  path: "",
  generation: "",
  sequence: 0,
  // The newest number received from the server.
  head: 0,
  // The last event that was acknowledged, and the timer of the next acknowledgement.
  acked: 0,
  acking: 0,
  // The server has confirmed the cursor on this connection.
  isConfirmed: false,
  // The content has to be reloaded because an update could not be applied.
  isStale: false,
  behindSince: 0,
  failedAttempts: 0,
  // Set from a lost connection until it has caught up; arrivals are counted meanwhile.
  isAway: false,
  arrivals: 0,
  startedAt: Date.now(),
  // The demo blocks the updates of this window.
  isCut: false,
  socket: null,
  failures: 0,
  lastFrameAt: Date.now(),
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
  // A page restored from the back/forward cache shows outdated content.
  addEventListener("pageshow", (event) => {
    if (!event.persisted) return;
    markUnconfirmed();
    reconnectIn(0);
  });
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-refetch]")) queue(() => reloadContent());
  });
  document.addEventListener("list:reload", () => queue(() => reloadContent({ toTop: true })));
}

/** Block the updates of this window, or let it catch up; returns its cursor. */
export function cutOff(isCut) {
  live.isCut = isCut;
  if (isCut) {
    disconnect();
    stopPolling();
  } else reconnectIn(0);
  describe();
  return live.sequence;
}

export const hasCaughtUp = () => isOpen() && isCurrent();

const isOnline = () => navigator.onLine && !live.isCut;
const isOpen = () => live.socket?.readyState === WebSocket.OPEN;
const isCurrent = () => live.isConfirmed && !live.isStale && live.sequence >= live.head;
const send = (frame) => isOpen() && live.socket.send(JSON.stringify(frame));

function connect() {
  if (live.over) return;
  clearTimeout(live.retry);
  live.retry = 0;
  if (!isOnline()) return show("offline");
  const socket = new WebSocket(location.origin.replace(/^http/, "ws") + live.path);
  live.socket = socket;
  live.lastFrameAt = Date.now();
  socket.addEventListener("open", () => {
    live.isConfirmed = false;
    resume();
  });
  socket.addEventListener("message", (event) => {
    live.lastFrameAt = Date.now();
    live.failures = 0;
    stopPolling();
    const frame = JSON.parse(event.data);
    queue(() => handleFrame(frame));
  });
  socket.addEventListener("close", (event) => lostSocket(socket, event.code));
}

function lostSocket(socket, code) {
  if (!socket || live.socket !== socket) return;
  live.socket = null;
  // Polling confirms the cursor without a socket.
  if (!live.poll) markUnconfirmed();
  if (code === SIGNED_OUT || live.over) return;
  live.failures += 1;
  if (live.failures >= FAILURES_BEFORE_POLLING) startPolling();
  const wait = Math.min(MAX_WAIT_MS, FIRST_WAIT_MS * 2 ** (live.failures - 1));
  reconnectIn(wait * (0.7 + 0.6 * Math.random()));
}

/** Drop the socket now: without a network its close event may take minutes. */
function disconnect() {
  const socket = live.socket;
  socket?.close();
  lostSocket(socket);
}

/** The content may be outdated until the server confirms the cursor again. */
function markUnconfirmed() {
  if (live.isConfirmed) live.isAway = true;
  live.isConfirmed = false;
}

function resume() {
  live.behindSince = Date.now();
  live.acked = live.sequence;
  send({ type: "resume", generation: live.generation, sequence: live.sequence });
}

function reconnectIn(wait) {
  if (live.over || isOpen()) return;
  clearTimeout(live.retry);
  live.retryAt = Date.now() + wait;
  live.retry = setTimeout(connect, wait);
  describe();
}

// Frames are processed one at a time, in order of arrival. A frame that fails must not be
// skipped, so the content is reloaded.
function queue(task) {
  work = work.then(task).catch((error) => {
    console.error("live update failed", error);
    live.isStale = true;
    live.behindSince = Date.now() - BEHIND_MS + RETRY_LOAD_MS;
    describe();
  });
}

async function handleFrame(frame) {
  if (frame.type === "events") await handleEvents(frame);
  else if (frame.type === "heartbeat") handleHeartbeat(frame);
  else if (frame.type === "refetch") await reloadContent();
  else if (frame.type === "revoked") showSignedOut(frame.html);
  if (isCurrent()) reportArrivals();
  describe();
}

async function handleEvents({ after, head, newest, frames, generation }) {
  if (generation !== live.generation) return;
  live.head = Math.max(live.head, newest ?? head);
  if (head < live.sequence || after > live.sequence) return after > live.sequence && resume();
  live.isConfirmed = true;
  if (head === live.sequence) return;
  const subjects = new Set();
  // Read before rows are inserted: afterwards it takes a layout of the whole list.
  const isDown = scrollY > 240;
  for (const frame of frames) {
    const arrived = await place(frame.html);
    for (const subject of frame.subjects ?? []) subjects.add(subject);
    for (const row of arrived) announceRow(row, isDown);
  }
  moveTo(head);
  if (head - live.acked >= ACK_EVENTS) acknowledge();
  else live.acking ||= setTimeout(acknowledge, ACK_MS);
  document.dispatchEvent(new CustomEvent("live:events", { detail: { frames } }));
  const watchers = watchersOf(subjects);
  if (watchers.length === 0) return;
  clearTimeout(watching);
  const update = watchers.every((element) => "part" in element.dataset) ? refreshPart : () => reloadContent();
  // Events of one action arrive in several frames; reload once for all of them.
  watching = setTimeout(() => queue(update), 60);
}

function acknowledge() {
  clearTimeout(live.acking);
  live.acking = 0;
  live.acked = live.sequence;
  send({ type: "ack", sequence: live.sequence });
}

function moveTo(sequence) {
  live.sequence = sequence;
  live.head = Math.max(live.head, sequence);
  live.behindSince = Date.now();
  live.failedAttempts = 0;
}

function reportArrivals() {
  if (!live.isAway) return;
  live.isAway = false;
  addArrivals(live.arrivals);
  live.arrivals = 0;
}

async function refreshPart() {
  if (!(await refreshDetail())) await reloadContent();
}

/** Elements whose data-watch names one of the changed subjects; their page is reloaded. */
function watchersOf(subjects) {
  return [...document.querySelectorAll("[data-watch]")].filter((element) =>
    element.dataset.watch.split(" ").some((name) => subjects.has(name)),
  );
}

function handleHeartbeat({ head, generation }) {
  if (generation !== live.generation || head < live.sequence) return queue(() => reloadContent());
  live.isConfirmed = true;
  if (head > live.head || live.sequence === head) live.behindSince = Date.now();
  live.head = head;
}

async function reloadContent({ toTop = false } = {}) {
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

function announceRow(row, isDown) {
  const { list } = row.dataset;
  const announceOne = row.dataset.announceOne ?? messageText(row);
  if (list === "messages" && live.isAway) live.arrivals += 1;
  else if (announceOne) {
    const run = () => scrollTo({ top: 0, behavior: "smooth" });
    announce(list, announceOne, isDown ? { label: gettext("Show"), run } : null);
  }
}

/** "Dapp: title" of a message row; empty for other rows. */
function messageText(row) {
  const title = row.querySelector(".message__title")?.textContent;
  return title ? `${row.querySelector(".message__dapp").textContent}: ${title}` : "";
}

function showSignedOut(html) {
  live.over = true;
  document.body.removeAttribute("data-live");
  document.title = gettext("Signed out");
  document.body.innerHTML = html;
  document.querySelector("h1")?.focus();
}

// Polling ------------------------------------------------------------------------------

function startPolling() {
  if (live.poll || live.over) return;
  const ask = async () => {
    live.poll = setTimeout(ask, POLL_MS * (0.8 + 0.4 * Math.random()));
    if (document.hidden || !isOnline()) return;
    const query = new URLSearchParams({ generation: live.generation, sequence: live.sequence });
    try {
      const response = await fetch(`/live/events?${query}`, { redirect: "manual" });
      if (response.type === "opaqueredirect") return location.reload();
      if (!response.ok) return;
      live.lastFrameAt = Date.now();
      const frame = await response.json();
      queue(() => handleFrame(frame));
      // One response holds one batch only: fetch the next at once.
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

// The connection status ---------------------------------------------------------------------------

function tick() {
  if (isOpen() && Date.now() - live.lastFrameAt > SILENCE_MS) disconnect();
  const isAsking = isOpen() || live.poll;
  if (isAsking && !isCurrent() && Date.now() - live.behindSince > BEHIND_MS) escalate();
  describe();
}

/** No progress: take the next stronger measure, whatever the reason is. */
function escalate() {
  live.failedAttempts += 1;
  live.behindSince = Date.now();
  if (live.isStale || live.failedAttempts > 2) queue(() => reloadContent());
  else if (live.failedAttempts === 1) resume();
  else disconnect();
}

function describe() {
  const silent = Date.now() - live.lastFrameAt;
  if (live.over) return show("signed-out");
  if (!isOnline()) return show("offline");
  if (isOpen() && isCurrent()) return show("live");
  if (!isOpen() && live.poll && isCurrent() && silent < 3 * POLL_MS) return show("polling");
  if (!live.isAway && live.failures === 0 && Date.now() - live.startedAt < QUIET_START_MS) return;
  return show(isOpen() && live.isConfirmed ? "behind" : "reconnecting");
}

const clock = (at) => new Date(at).toTimeString().slice(0, 5);
const STATES = {
  live: () => [gettext("Live"), gettext("Changes on other devices appear here as they happen.")],
  behind: () => [
    gettext("Catching up…"),
    interpolate(gettext("Change %s of %s is shown; the rest is being fetched."), [live.sequence, live.head]),
  ],
  polling: () => [
    gettext("Updates by polling"),
    gettext("The live connection is blocked; changes are fetched every five seconds."),
  ],
  offline: () => [
    interpolate(gettext("Offline: showing %s"), [clock(live.lastFrameAt)]),
    gettext("You are offline. Reading works; changes are off."),
  ],
  "signed-out": () => [gettext("Signed out"), gettext("This device was signed out.")],
  reconnecting: () => {
    const wait = Math.max(0, Math.ceil(((live.retryAt ?? 0) - Date.now()) / 1000));
    const text = wait ? interpolate(gettext("Reconnecting… %s s"), [wait]) : gettext("Connecting…");
    return [text, gettext("Nothing is lost: missed changes are sent once the connection is back.")];
  },
};

function show(state) {
  const chip = document.getElementById("connection");
  if (!chip) return;
  const [short, long] = STATES[state]();
  if (chip.dataset.state !== state) {
    if (state === "live" && chip.dataset.state === "offline") showStatus(gettext("You are back online."));
    chip.dataset.state = state;
    document.body.toggleAttribute("data-offline", state === "offline");
  }
  write("[data-connection-text]", short);
  write("[data-connection-long]", long);
  write("[data-connection-sequence]", String(live.sequence));
  const age = Math.round((Date.now() - live.lastFrameAt) / 1000);
  write("[data-connection-age]", age < 2 ? gettext("just now") : interpolate(gettext("%s s ago"), [age]));
}

function write(selector, text) {
  const element = document.querySelector(selector);
  if (element && element.textContent !== text) element.textContent = text;
}
